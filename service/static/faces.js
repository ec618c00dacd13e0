// The faces as a list to read, and one tick a candidate under the score slider.

import { formatScore, paintFace } from "./picture.js";

const list = document.getElementById("faces");
const ticks = document.getElementById("score-ticks");
const CUT_OUTS = 60; // more would cost a phone its memory

// Faces come best first, so those shown are always the first few: moving the slider only adds or
// removes items at the end.
export function listFaces(scene, fresh) {
  if (fresh) list.replaceChildren();
  while (list.children.length > scene.faces.length) list.lastChild.remove();
  for (let i = list.children.length; i < scene.faces.length; i += 1) {
    list.append(item(scene, scene.faces[i], i));
  }
}

function item(scene, face, index) {
  const { x, y, width, height } = face.box;
  const entry = document.createElement("li");
  Object.assign(entry.dataset, { x, y, width, height, score: face.score });
  const cut = document.createElement("canvas");
  cut.setAttribute("aria-hidden", "true");
  if (index < CUT_OUTS) paintFace(cut, scene, face);
  const words = document.createElement("span");
  const title = document.createElement("strong");
  title.textContent = `Face ${index + 1}`;
  const place = document.createElement("span");
  place.className = "place";
  place.textContent =
    `${Math.round(width)} × ${Math.round(height)} px at ${Math.round(x)}, ${Math.round(y)}`;
  words.append(title, " ", place);
  const score = document.createElement("span");
  score.className = "number";
  const label = document.createElement("span");
  label.className = "offscreen";
  label.textContent = "score ";
  score.append(label, formatScore(face.score));
  entry.append(cut, words, score);
  return entry;
}

export function lightFace(index) {
  for (const [i, entry] of [...list.children].entries()) entry.classList.toggle("lit", i === index);
}

// Call light(index | null) as the pointer passes over the list.
export function onPointAtItem(light) {
  list.addEventListener("pointerover", (event) => {
    const entry = event.target.closest("li");
    light(entry ? [...list.children].indexOf(entry) : null);
  });
  list.addEventListener("pointerleave", () => light(null));
}

// slider: {min, max} of its scores; below: what the slider hides now.
export function tickScores(candidates, slider, lowest) {
  const span = slider.max - slider.min;
  ticks.replaceChildren(
    ...candidates.slice(0, 300).map(({ score }) => {
      const tick = document.createElement("i");
      const at = Math.min(1, Math.max(0, (score - slider.min) / span));
      tick.style.left = `${at * 100}%`;
      if (score < lowest) tick.className = "below";
      return tick;
    }),
  );
}
