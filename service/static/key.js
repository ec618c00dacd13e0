// The API key: asked for after a 401, kept for this tab only.

const form = document.getElementById("key-form");
const field = document.getElementById("key");
const SLOT = "sfd-api-key";

export function currentKey() {
  return sessionStorage.getItem(SLOT) ?? "";
}

// Show the field; the service has refused what we have.
export function askForKey() {
  sessionStorage.removeItem(SLOT);
  if (!form.hidden) return;
  form.hidden = false;
  field.focus();
}

export function onKey(use) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(SLOT, field.value.trim());
    field.value = "";
    form.hidden = true;
    use();
  });
}
