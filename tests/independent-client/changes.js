// Intents, as a push carries them. Values are given as JavaScript values and travel as JSON text.

const fieldsOf = (values) =>
  Object.entries(values).map(([name, value]) => ({ name, value: Buffer.from(JSON.stringify(value)) }));

export const put = (collection, id, values) => ({ put: { collection, id, fields: fieldsOf(values) } });
export const set = (collection, id, values) => ({ set: { collection, id, fields: fieldsOf(values) } });
export const unset = (collection, id, ...fields) => ({ unset: { collection, id, fields } });
export const del = (collection, id) => ({ del: { collection, id } });
export const inc = (collection, id, field, by) => ({ inc: { collection, id, field, by } });
