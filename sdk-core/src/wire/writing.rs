//! Messages → Protobuf, for the frames that a client sends; the other half of `reading.rs`.
//!
//! What has its default value is left out, and fields come in order: the bytes are the same as those of
//! every other writer.

/// A message that tells its fields one by one, in order.
pub(super) trait Write {
    fn write(&self, out: &mut Writer);
}

/// Bytes that grow by fields.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

/// One method for each type of `fields.rs`.
impl Writer {
    pub(super) fn uint64(&mut self, number: u32, &value: &u64) {
        self.optional_uint64(number, &(value != 0).then_some(value));
    }

    pub(super) fn uint32(&mut self, number: u32, &value: &u32) {
        self.uint64(number, &value.into());
    }

    pub(super) fn sint64(&mut self, number: u32, &value: &i64) {
        self.uint64(number, &((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(super) fn boolean(&mut self, number: u32, &value: &bool) {
        self.uint64(number, &value.into());
    }

    pub(super) fn fixed64(&mut self, number: u32, &value: &u64) {
        if value != 0 {
            self.key(number, 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn fixed32(&mut self, number: u32, &value: &u32) {
        if value != 0 {
            self.key(number, 5);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.part(number, value);
        }
    }

    pub(super) fn string(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    pub(super) fn strings(&mut self, number: u32, values: &[String]) {
        for value in values {
            self.part(number, value.as_bytes());
        }
    }

    pub(super) fn message<M: Write>(&mut self, number: u32, message: &Option<M>) {
        if let Some(message) = message {
            self.kind(number, message);
        }
    }

    pub(super) fn messages<M: Write>(&mut self, number: u32, messages: &[M]) {
        for message in messages {
            self.kind(number, message);
        }
    }

    pub(super) fn optional_uint32(&mut self, number: u32, &value: &Option<u32>) {
        self.optional_uint64(number, &value.map(u64::from));
    }

    pub(super) fn optional_uint64(&mut self, number: u32, &value: &Option<u64>) {
        if let Some(value) = value {
            self.key(number, 0);
            self.varint(value);
        }
    }

    pub(super) fn optional_string(&mut self, number: u32, value: &Option<String>) {
        if let Some(value) = value {
            self.part(number, value.as_bytes());
        }
    }

    pub(super) fn optional_bytes(&mut self, number: u32, value: &Option<bytes::Bytes>) {
        if let Some(value) = value {
            self.part(number, value);
        }
    }

    /// Fields that were written before.
    pub(super) fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// A message that is there even when it is empty.
    pub(super) fn kind(&mut self, number: u32, message: &dyn Write) {
        self.key(number, 2);
        let start = self.0.len();
        message.write(self);
        // Its length, which is known only now, goes before it.
        self.insert_varint(start, (self.0.len() - start) as u64);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn part(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint((number << 3 | wire_type).into());
    }

    fn varint(&mut self, value: u64) {
        self.insert_varint(self.0.len(), value);
    }

    fn insert_varint(&mut self, mut at: usize, mut value: u64) {
        while value >= 0x80 {
            self.0.insert(at, value as u8 | 0x80);
            at += 1;
            value >>= 7;
        }
        self.0.insert(at, value as u8);
    }
}
