// The request whose answer is shown, as a line for a shell.

import { detectAddress } from "./api.js";
import { state } from "./state.js";

export function curlOf(photo, hasKey) {
  const words = ["curl", "--data-binary", `@${photo?.name ?? "photo.jpg"}`];
  if (hasKey) words.push("-H", "X-API-Key: YOUR-KEY");
  words.push(detectAddress(photo?.asked ?? { minScore: state.lowest }).href);
  return words.map(quoted).join(" ");
}

// In single quotes where a shell would take a character for its own.
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
