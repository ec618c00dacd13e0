// The API key: asked for after a 401, and kept in memory only.

const form = document.getElementById("key-form");
const field = document.getElementById("key");
let key = "";

export function currentKey() {
  return key;
}

// Show the field; the service has refused what we have.
export function askForKey() {
  key = "";
  if (!form.hidden) return;
  form.hidden = false;
  field.focus();
}

export function onKey(use) {
  field.addEventListener("input", () => field.setCustomValidity(""));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = field.value.trim();
    // A pasted key may bring characters along that nobody sees, and that no header can carry.
    if (!/^[\x20-\x7e\xa1-\xac\xae-\xff]+$/.test(given)) {
      field.setCustomValidity("This has characters that no key has: type it, or copy it again.");
      form.reportValidity();
      return;
    }
    key = given;
    field.value = "";
    form.hidden = true;
    use();
  });
}
