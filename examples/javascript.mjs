// Find the faces of a photograph: node javascript.mjs photo.jpg
// In a browser, `body` is the File of an <input type="file">. If another host serves the page, the
// service must allow it: SFD_CORS_ORIGINS=https://that.host

import { readFile } from "node:fs/promises";

const url = process.env.SFD_URL ?? "http://127.0.0.1:8000";
const body = await readFile(process.argv[2]);

const answer = await fetch(`${url}/detect?min_score=0.8`, {
  method: "POST",
  headers: { "Content-Type": "application/octet-stream" },
  body,
});
const result = await answer.json();
if (!answer.ok) {
  console.error(`${result.status} ${result.title}: ${result.detail}`);
  process.exit(1);
}

for (const { box, score } of result.faces) {
  const [x, y, width, height] = [box.x, box.y, box.width, box.height].map(Math.round);
  console.log(`${x},${y} ${width}x${height} ${score.toFixed(2)}`);
}
