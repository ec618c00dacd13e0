// What the page says in words: the result, and what went wrong.

import { shownFaces, state } from "./state.js";

const element = (id) => document.getElementById(id);

export function showResult(photo) {
  const { status, detail } = wordsFor(photo);
  setText(element("status"), status);
  setText(element("detail"), detail);
  element("canvas").setAttribute("aria-label", photo ? `${photo.name}: ${status}` : status);
}

function wordsFor(photo) {
  if (!photo) {
    return {
      status: "No picture yet",
      detail: "Pictures are sent only to this service, which does not keep them.",
    };
  }
  if (photo.abort) return { status: "Looking for faces…", detail: photo.name };
  if (photo.problem) return { status: "No answer", detail: photo.name };
  const count = shownFaces(photo).length;
  const weaker = photo.answer.faces.length - count;
  const { width, height } = photo.answer.image;
  const hidden =
    weaker === 0 ? "" : `, ${counted(weaker, "weaker candidate")} below ${state.minScore.toFixed(2)}`;
  return {
    status: count === 0 ? "No faces found" : `${counted(count, "face")} found`,
    detail: `${photo.name}, ${width} × ${height} px${hidden}`,
  };
}

// The mark of a picture in the filmstrip: what it shows, and what a screen reader says.
export function badgeOf(photo) {
  if (photo.abort) return { text: "…", words: "waiting" };
  if (photo.problem) return { text: "!", words: "no answer" };
  const count = shownFaces(photo).length;
  return { text: String(count), words: counted(count, "face") };
}

// Show what went wrong in the alert region, with a button where trying again may help: the
// complaint, or else the pictures that failed of those taken last, or the one that is shown.
export function showProblem(complaint, photo, photos, tryAgain) {
  const box = element("problem");
  const latest = photos.filter(({ batch }) => batch === photos.at(-1)?.batch);
  const failed = latest.filter((each) => each.problem);
  if (failed.length === 0 && photo?.problem) failed.push(photo);
  const problem = complaint ?? failed[0]?.problem;
  const words = complaint?.message ?? failures(failed, latest);
  if ((box.dataset.words ?? "") === words) return; // nothing new to announce
  box.dataset.words = words;
  box.replaceChildren();
  if (!problem) return;
  const paragraph = document.createElement("p");
  paragraph.textContent = words;
  box.append(paragraph);
  if (!problem.again) return;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "button";
  again.textContent = "Try again";
  again.addEventListener("click", tryAgain);
  box.append(again);
}

function failures(failed, photos) {
  const named = failed.slice(0, 3).map(({ name, problem }) => `${name}: ${problem.message}`);
  if (failed.length > named.length) named.push(`And ${failed.length - named.length} more.`);
  const several = photos.length > 1 && photos.includes(failed[0]);
  const head = several ? `${failed.length} of ${photos.length} pictures failed. ` : "";
  return head + named.join(" ");
}

function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

// Setting a live region's text anew would announce it again.
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
