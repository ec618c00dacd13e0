// What went wrong, as a value that the page can show in plain words.

export class Problem extends Error {
  // status: the HTTP status, 0 when no answer came.
  constructor(sentence, { status = 0, again = false } = {}) {
    super(sentence);
    this.status = status;
    this.again = again;
  }
}

const ADVICE = {
  413: "Try a smaller picture.",
  503: "It is busy or restarting.",
  504: "It may be busy.",
};

// The problem that an HTTP response other than 2xx tells of (RFC 9457, or a proxy's own words).
export async function fromResponse(response, hadKey) {
  const { status } = response;
  if (status === 401) {
    return new Problem(
      hadKey ? "That API key was not accepted." : "This service needs an API key: enter it below.",
      { status },
    );
  }
  const said = await problemOf(response);
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const retryAfter = Number.isFinite(seconds) ? seconds : null;
  const wait =
    retryAfter === null ? "" : `Try again in ${retryAfter} second${retryAfter === 1 ? "" : "s"}.`;
  const detail = typeof said.detail === "string" ? said.detail : "";
  const parts = [sentence(said.title), sentence(detail), ADVICE[status] ?? "", wait];
  return new Problem(parts.filter(Boolean).join(" "), {
    status,
    again: status >= 500 || status === 429,
  });
}

// The problem that a fetch without any answer tells of. A service that refuses a large upload may
// close the connection before the browser reads why.
export function fromSilence(bytes = 0) {
  const large =
    bytes > 8e6 ? ` The file has ${Math.round(bytes / 1e6)} MB, which may be over the limit.` : "";
  return new Problem(
    `The service cannot be reached. Check that it runs and that you are online, then try again.${large}`,
    { again: true },
  );
}

// The problem of an answer that the service cannot have sent, such as a proxy's page to sign in.
export function fromStranger() {
  return new Problem(
    "The answer is not from the face detector. If a proxy in front of it asks you to sign in, reload this page.",
    { again: true },
  );
}

async function problemOf(response) {
  const unnamed = { title: `The service answered ${response.status} ${response.statusText}` };
  try {
    const { title, detail } = await response.json();
    return typeof title === "string" && title ? { title, detail } : unnamed;
  } catch {
    return unnamed;
  }
}

function sentence(words) {
  const text = words.trim().replaceAll("MiB", "MB");
  if (text === "") return "";
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
