// The published schema as data: by message, by field number. `scripts/publish-schema.js` makes it from
// `sdk-core/proto/tidewire.proto`.

export interface SchemaField {
  /** In camelCase. */
  name: string;
  /** A scalar of Protobuf, or a message of this schema. */
  type: string;
  repeated?: true;
}

export type Schema = Record<string, Record<number, SchemaField>>;

declare const schema: Schema;
export default schema;
