//! Protobuf → messages, for the frames that a client receives.
//!
//! Not what `prost` derives: that is a loop and a set of errors per message, a fifth of the browser's
//! module. Here one loop reads every message, and a message only says where a field goes
//! (`fields.rs`). Fields and kinds that are not known are skipped; a oneof that is there twice is its
//! last one. Groups, which the third version of Protobuf no longer has, are malformed.

use bytes::Bytes;

/// The bytes are not Protobuf, or a field has another type than the schema's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message that takes its fields one by one.
pub(super) trait Read {
    /// Takes a field; one of a later version is passed over.
    fn read(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed>;
}

/// Bytes that are left of a message: an iterator over its fields. After an error nothing more is read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// One field's value as the wire tells it.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Gives every field that is left to `message`.
    pub(super) fn read_into(self, message: &mut dyn Read) -> Result<(), Malformed> {
        for field in self {
            let (number, value) = field?;
            message.read(number, value)?;
        }
        Ok(())
    }

    #[inline]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
                self.rest = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let bytes = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(bytes)?)
            }
            5 => {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
                self.rest = rest;
                Value::Fixed32(u32::from_le_bytes(*bytes))
            }
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok((number, value)),
        }
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly every key and length.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok((*byte).into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            value |= bits << (7 * at);
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                if at == 9 && bits > 1 {
                    break;
                }
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.field())
    }
}

impl<'a> Value<'a> {
    pub(super) fn slice(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    fn reader(self) -> Result<Reader<'a>, Malformed> {
        self.slice().map(Reader::new)
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.slice()?).map_err(|_| Malformed)
    }
}

/// One method for each type of `fields.rs`.
impl Value<'_> {
    pub(super) fn uint64(self, field: &mut u64) -> Result<(), Malformed> {
        let Self::Varint(value) = self else {
            return Err(Malformed);
        };
        *field = value;
        Ok(())
    }

    pub(super) fn uint32(self, field: &mut u32) -> Result<(), Malformed> {
        let mut value = 0;
        self.uint64(&mut value)?;
        // As Protobuf wants it: the higher bits are of a wider type.
        *field = value as u32;
        Ok(())
    }

    pub(super) fn sint64(self, field: &mut i64) -> Result<(), Malformed> {
        let mut value = 0;
        self.uint64(&mut value)?;
        *field = (value >> 1) as i64 ^ -((value & 1) as i64);
        Ok(())
    }

    pub(super) fn boolean(self, field: &mut bool) -> Result<(), Malformed> {
        let mut value = 0;
        self.uint64(&mut value)?;
        *field = value != 0;
        Ok(())
    }

    pub(super) fn fixed64(self, field: &mut u64) -> Result<(), Malformed> {
        let Self::Fixed64(value) = self else {
            return Err(Malformed);
        };
        *field = value;
        Ok(())
    }

    pub(super) fn fixed32(self, field: &mut u32) -> Result<(), Malformed> {
        let Self::Fixed32(value) = self else {
            return Err(Malformed);
        };
        *field = value;
        Ok(())
    }

    pub(super) fn bytes(self, field: &mut Bytes) -> Result<(), Malformed> {
        *field = Bytes::copy_from_slice(self.slice()?);
        Ok(())
    }

    pub(super) fn string(self, field: &mut String) -> Result<(), Malformed> {
        *field = self.text()?.to_owned();
        Ok(())
    }

    pub(super) fn strings(self, field: &mut Vec<String>) -> Result<(), Malformed> {
        let mut text = String::new();
        self.string(&mut text)?;
        field.push(text);
        Ok(())
    }

    pub(super) fn message<M: Read + Default>(self, field: &mut Option<M>) -> Result<(), Malformed> {
        self.reader()?.read_into(field.get_or_insert_default())
    }

    pub(super) fn messages<M: Read + Default>(self, field: &mut Vec<M>) -> Result<(), Malformed> {
        let mut message = M::default();
        self.reader()?.read_into(&mut message)?;
        field.push(message);
        Ok(())
    }

    pub(super) fn optional_uint32(self, field: &mut Option<u32>) -> Result<(), Malformed> {
        self.uint32(field.insert(0))
    }

    pub(super) fn optional_uint64(self, field: &mut Option<u64>) -> Result<(), Malformed> {
        self.uint64(field.insert(0))
    }

    pub(super) fn optional_string(self, field: &mut Option<String>) -> Result<(), Malformed> {
        self.string(field.insert(String::new()))
    }

    pub(super) fn optional_bytes(self, field: &mut Option<Bytes>) -> Result<(), Malformed> {
        self.bytes(field.insert(Bytes::new()))
    }

    /// The message of a oneof.
    pub(super) fn kind<M: Read + Default>(self) -> Result<M, Malformed> {
        let mut message = M::default();
        self.reader()?.read_into(&mut message)?;
        Ok(message)
    }
}
