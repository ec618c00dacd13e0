// The requests of the page. Addresses are relative, so that the page works below a proxy's prefix.

import { fromResponse, fromSilence } from "./problems.js";

const ROOT = new URL("../", import.meta.url);

// The models that the service has loaded: [{name, version, thresholds, …}], the default first.
export async function listModels(key) {
  const { models } = await ask("models", { key });
  return models.toSorted((a, b) => Number(b.default ?? false) - Number(a.default ?? false));
}

// The answer of POST /detect for one picture, and the milliseconds until it was here.
export async function detect(picture, { model, minScore, key, signal }) {
  const query = new URLSearchParams({ min_score: String(minScore) });
  if (model) query.set("model", model);
  const start = performance.now();
  const answer = await ask(`detect?${query}`, {
    key,
    signal,
    method: "POST",
    body: picture,
    headers: { "Content-Type": picture.type || "application/octet-stream" },
  });
  return { answer, roundTrip: performance.now() - start };
}

async function ask(path, { key, headers = {}, ...options }) {
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      ...options,
      headers: { Accept: "application/json", ...headers, ...(key ? { "X-API-Key": key } : {}) },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw fromSilence(options.body?.size);
  }
  if (!response.ok) throw await fromResponse(response, Boolean(key));
  return response.json();
}
