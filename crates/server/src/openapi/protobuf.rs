//! OpenAPI version 2 as protobuf (`openapi.v2.Document` of gnostic's OpenAPIv2.proto), written by hand: kubectl
//! up to 1.28 reads nothing else for `explain` and for validation. Only what it looks at is written: the
//! definitions, and of the paths the patches with their query parameters.

use serde_json::Value;

/// The document of a version 2 document in JSON.
pub(super) fn document(swagger: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, &swagger["swagger"]);
    let mut info = Message::default();
    info.text(1, &swagger["info"]["title"]);
    info.text(2, &swagger["info"]["version"]);
    document.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in fields(&swagger["paths"]).filter(|(_, item)| item.get("patch").is_some()) {
        let mut path_item = Message::default();
        path_item.message(8, &operation(&item["patch"]));
        paths.named(2, path, &path_item);
    }
    document.message(8, &paths);
    document.message(9, &schemas(&swagger["definitions"]));
    document.0
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.text(5, &operation["operationId"]);
    for parameter in items(&operation["parameters"]).filter(|parameter| parameter["in"] == "query") {
        let mut query = Message::default();
        query.text(2, &parameter["in"]);
        query.text(3, &parameter["description"]);
        query.text(4, &parameter["name"]);
        query.text(6, &parameter["type"]);
        // ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema.
        message.message(8, &Message::of(1, &Message::of(2, &Message::of(3, &query))));
    }
    extensions(&mut message, 13, operation);
    message
}

/// `Definitions` and `Properties`, which have one form.
fn schemas(named: &Value) -> Message {
    let mut message = Message::default();
    for (name, value) in fields(named) {
        message.named(1, name, &schema(value));
    }
    message
}

fn schema(schema: &Value) -> Message {
    let mut message = Message::default();
    for (key, value) in fields(schema) {
        match key.as_str() {
            "$ref" => message.text(1, value),
            "format" => message.text(2, value),
            "description" => message.text(4, value),
            "default" => message.message(5, &any(value)),
            "required" => items(value).for_each(|name| message.text(19, name)),
            "enum" => items(value).for_each(|word| message.message(20, &any(word))),
            "additionalProperties" => message.message(21, &Message::of(1, &self::schema(value))),
            "type" => {
                let mut kind = Message::default();
                kind.text(1, value);
                message.message(22, &kind);
            }
            "items" => message.message(23, &Message::of(1, &self::schema(value))),
            "properties" => message.message(25, &schemas(value)),
            _ => {}
        }
    }
    extensions(&mut message, 31, schema);
    message
}

/// Repeated `NamedAny`, for the keys that begin with `x-`.
fn extensions(message: &mut Message, field: u32, holder: &Value) {
    for (name, value) in fields(holder).filter(|(name, _)| name.starts_with("x-")) {
        message.named(field, name, &any(value));
    }
}

/// `Any` holds YAML, and JSON is YAML.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.bytes(2, value.to_string().as_bytes());
    message
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A protobuf message being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// A message with one message inside.
    fn of(field: u32, inner: &Message) -> Self {
        let mut message = Self::default();
        message.message(field, inner);
        message
    }

    /// A string field; what is no string is left out.
    fn text(&mut self, field: u32, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u32, inner: &Message) {
        self.bytes(field, &inner.0);
    }

    /// A map's entry in gnostic's form: name and value.
    fn named(&mut self, field: u32, name: &str, value: &Message) {
        let mut entry = Self::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(field, &entry);
    }

    /// A length-delimited field (wire type 2).
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lengths_beyond_one_byte() {
        let mut message = Message::default();
        message.bytes(16, &[7; 300]);
        assert_eq!(message.0[..5], [0x82, 0x01, 0xac, 0x02, 7]);
        assert_eq!(message.0.len(), 304);
    }

    #[test]
    fn a_schema_byte_by_byte() {
        let schema =
            schema(&json!({ "type": "object", "properties": { "a": { "$ref": "#/d" } }, "x-y": [1] }));
        let expected = [
            &[0xca, 0x01, 0x0c, 0x0a, 0x0a, 0x0a, 1, b'a', 0x12, 5, 0x0a, 3][..], // properties: a: $ref
            b"#/d",
            &[0xb2, 0x01, 8, 0x0a, 6], // type
            b"object",
            &[0xfa, 0x01, 0x0c, 0x0a, 3], // an extension
            b"x-y",
            &[0x12, 5, 0x12, 3],
            b"[1]",
        ]
        .concat();
        assert_eq!(schema.0, expected);
    }
}
