// What every consumer does with the package: join, see a record, make one, and await its outcome.

/** `transport`: the only one to use; all of them without. */
export async function play({ createClient, TidewireError }, { server, channel, transport, ...options }) {
  const only = transport ? { transports: [transport] } : {};
  const client = createClient({ url: server, token: "dev:consumer", ...only, ...options });
  try {
    const board = client.channel(channel);
    await board.ready();
    const seen = board.get("cards", "seed")?.title;
    const made = board.put("cards", "made", { title: "made by the consumer" });
    await made.committed;
    const over = client.connection.transport;
    return { seen, status: made.status, over, shared: isShared(createClient, TidewireError) };
  } finally {
    client.close();
  }
}

/** Whether what `createClient` throws is what the application imports. */
function isShared(createClient, TidewireError) {
  try {
    createClient({ url: "ftp://nowhere" });
  } catch (error) {
    return error instanceof TidewireError && error.code === "invalid_url";
  }
  return false;
}
