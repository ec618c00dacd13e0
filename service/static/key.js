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
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key = field.value.trim();
    field.value = "";
    form.hidden = true;
    use();
  });
}
