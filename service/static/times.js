// The stage times of an answer as a stacked bar with a legend.

const bar = document.getElementById("times-bar");
const legend = document.getElementById("times");
const total = document.getElementById("times-total");
const note = document.getElementById("times-note");

const ORDER = ["decode", "preprocess", "queue", "inference", "postprocess"];

// answer: what POST /detect said, or null to clear; roundTrip: milliseconds measured here.
export function showTimes(answer, roundTrip) {
  bar.replaceChildren();
  legend.replaceChildren();
  total.textContent = answer ? milliseconds(answer.timings_ms.total) : "";
  if (answer === null) {
    note.textContent = "Every answer includes the time of each stage.";
    return;
  }
  for (const { name, time, stage } of stages(answer.timings_ms)) {
    const part = swatch(stage);
    part.style.flexGrow = String(time);
    bar.append(part);
    const term = document.createElement("dt");
    term.append(swatch(stage), name);
    const value = document.createElement("dd");
    value.className = "number";
    value.textContent = milliseconds(time);
    const row = document.createElement("div");
    row.append(term, value);
    legend.append(row);
  }
  const batch = answer.batch_size > 1 ? `, in a batch of ${answer.batch_size}` : "";
  note.textContent = `${milliseconds(roundTrip)} with the network${batch}`;
}

// The stages in the order in which they happen; what none of them accounts for is "other".
function stages(timings) {
  const named = Object.keys(timings).filter((name) => name !== "total");
  const known = ORDER.filter((name) => named.includes(name));
  const rows = [...known, ...named.filter((name) => !known.includes(name))].map((name) => ({
    name,
    time: timings[name],
    stage: ORDER.indexOf(name) + 1 || 6,
  }));
  const rest = timings.total - rows.reduce((sum, { time }) => sum + time, 0);
  return rest >= 0.05 ? [...rows, { name: "other", time: rest, stage: 6 }] : rows;
}

function swatch(stage) {
  const part = document.createElement("i");
  part.dataset.stage = String(stage);
  return part;
}

function milliseconds(time) {
  return `${time.toFixed(time < 99.95 ? 1 : 0)} ms`;
}
