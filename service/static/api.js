// The requests of the page. Addresses are relative, so that the page works below a proxy's prefix.

import { fromResponse, fromSilence, fromStranger } from "./problems.js";

const ROOT = new URL("../", import.meta.url);

// The models that the service has loaded: [{name, version, thresholds, …}], the default first.
export async function listModels(key) {
  const { models } = await ask("models", "models", { key });
  return models.toSorted((a, b) => Number(b.default ?? false) - Number(a.default ?? false));
}

// Where to post a picture, with parameters.
export function detectAddress({ model = "", minScore, tiles = false }) {
  const address = new URL("detect", ROOT);
  address.searchParams.set("min_score", String(minScore));
  if (tiles) address.searchParams.set("tiles", "auto");
  if (model) address.searchParams.set("model", model);
  return address;
}

// The answer of POST /detect for one picture, and the milliseconds until it arrived.
export async function detect(picture, parameters, { key, signal }) {
  const start = performance.now();
  const answer = await ask(detectAddress(parameters), "faces", {
    key,
    signal,
    method: "POST",
    body: picture,
    headers: { "Content-Type": picture.type || "application/octet-stream" },
  });
  return { answer, roundTrip: performance.now() - start };
}

// The answer, an object that has the list `member`.
async function ask(path, member, { key, headers = {}, ...options }) {
  let response;
  let answer = null;
  try {
    response = await fetch(new URL(path, ROOT), {
      ...options,
      headers: { Accept: "application/json", ...headers, ...(key ? { "X-API-Key": key } : {}) },
    });
    if (response.ok) answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A SyntaxError: an answer came, but it is not JSON.
    throw error.name === "SyntaxError" ? fromStranger() : fromSilence(options.body?.size);
  }
  if (!response.ok) throw await fromResponse(response, Boolean(key));
  if (!Array.isArray(answer?.[member])) throw fromStranger();
  return answer;
}
