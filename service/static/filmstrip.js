// Thumbnails of the pictures, when there are several.

import { paintThumbnail } from "./picture.js";

const strip = document.getElementById("filmstrip");

// badgeOf(photo): {text, words}; sceneOf(photo): what to paint, or null before the picture is open.
export function showStrip(photos, current, { badgeOf, sceneOf, choose }) {
  strip.hidden = photos.length < 2;
  if (strip.hidden) {
    strip.replaceChildren();
    return;
  }
  strip.replaceChildren(
    ...photos.map((photo) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-current", String(photo === current));
      const badge = badgeOf(photo);
      button.setAttribute("aria-label", `${photo.name}: ${badge.words}`);
      const scene = sceneOf(photo);
      if (scene?.bitmap) {
        const canvas = document.createElement("canvas");
        paintThumbnail(canvas, scene);
        button.append(canvas);
      }
      button.append(mark(badge.text));
      button.addEventListener("click", () => {
        choose(photo);
        strip.querySelector('[aria-current="true"]').focus();
      });
      const entry = document.createElement("li");
      entry.append(button);
      return entry;
    }),
  );
}

function mark(text) {
  const badge = document.createElement("span");
  badge.textContent = text;
  badge.hidden = text === "";
  return badge;
}
