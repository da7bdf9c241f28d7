// The code of a document: its fences, in order. ```LANGUAGE word name=value name="a b"

/** `{ language, words: Set, named: { title, … }, text, line }` of every fence. */
export function fences(markdown) {
  const found = [];
  let open;
  markdown.split("\n").forEach((line, at) => {
    if (open && line === "```") {
      found.push({ ...open, text: open.lines.map((inside) => `${inside}\n`).join("") });
      open = undefined;
    } else if (open) {
      open.lines.push(line);
    } else if (line.startsWith("```")) {
      open = { ...head(line.slice(3)), line: at + 1, lines: [] };
    }
  });
  if (open) throw new Error(`the fence of line ${open.line} is never closed`);
  return found;
}

function head(info) {
  const [language] = info.split(/[ ,]/);
  const words = new Set();
  const named = {};
  for (const [, word, quoted, bare] of info.slice(language.length).matchAll(/([\w-]+)(?:=(?:"([^"]*)"|(\S+)))?/g)) {
    const value = quoted ?? bare;
    if (value === undefined) words.add(word);
    else named[word] = value;
  }
  return { language, words, named };
}
