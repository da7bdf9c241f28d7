// One request to a door: always a POST of one message, at a URL that never changes.

/** Resolves with the response once its head is there. A redirect would take the token along, so none is followed. */
export function request(url, codec, body, { signal, headers } = {}) {
  return fetch(url, { method: "POST", headers: { "content-type": codec.mediaType, ...headers }, body, signal, redirect: "error" });
}

/** What a response that is no stream said, as bytes. */
export const bytesOf = async (response) => Buffer.from(await response.arrayBuffer());

/** The fatal `error` that stands in the body of a refusal; null where somebody else answered in the server's place. */
export function refusalIn(response, codec, bytes) {
  if (response.headers.get("content-type") !== codec.mediaType) return null;
  const [first] = codec.decode(bytes);
  return first?.kind === "error" ? first.frame : null;
}

/** The pause that a response asks for, in ms: `Retry-After` is the same in whole seconds, for who reads no body. */
export const pauseOf = (response, error) => error?.retryMs ?? 1_000 * (Number(response.headers.get("retry-after")) || 0);
