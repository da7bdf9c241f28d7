// The messages of `Stream::write_to`, once more.

export async function loadStream(records, messages) {
  const response = await fetch(`/stream/${records}/${messages}`);
  const buffer = await response.arrayBuffer();
  const view = new DataView(buffer);
  const text = new TextDecoder();
  let at = 0;
  const number = () => {
    at += 4;
    return view.getUint32(at - 4, true);
  };
  const message = () => {
    const length = number();
    at += length;
    return buffer.slice(at - length, at);
  };
  const list = () => Array.from({ length: number() }, message);
  const [[welcome], snapshot, patches] = [list(), list(), list()];
  return { welcome, snapshot, patches, json: list().map((bytes) => text.decode(bytes)) };
}
