// Find the faces of a photograph: node javascript.mjs photo.jpg
// In a browser, `body` is the File of an <input type="file">. If another host serves the page, the
// service must allow it: SFD_CORS_ORIGINS=https://that.host

import { readFile } from "node:fs/promises";

const url = process.env.SFD_URL ?? "http://127.0.0.1:8000";
const body = await readFile(process.argv[2]);

function fail(words) {
  console.error(words);
  process.exit(1);
}

const answer = await fetch(`${url}/detect?min_score=0.8`, {
  method: "POST",
  headers: { "Content-Type": "application/octet-stream" },
  body,
}).catch((error) => fail(`${url}: ${error.cause?.message || error.message}`));
// Every error of the service is a problem of RFC 9457; a proxy's own is something else.
const isProblem = answer.headers.get("Content-Type")?.includes("problem+json");
if (!answer.ok && !isProblem) fail(`${answer.status} ${answer.statusText}`);
const result = await answer.json();
if (!answer.ok) fail(`${result.status} ${result.title}: ${result.detail}`);

for (const { box, score } of result.faces) {
  const [x, y, width, height] = [box.x, box.y, box.width, box.height].map(Math.round);
  console.log(`${x},${y} ${width}x${height} ${score.toFixed(2)}`);
}
