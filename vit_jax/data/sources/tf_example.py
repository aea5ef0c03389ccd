"""tf.train.Example, the record that TensorFlow's tools write, read without TensorFlow.

Its messages are described to protobuf here: tfds has them compiled, but takes a second to import, in every worker.
"""

import functools
from typing import Any

from vit_jax.errors import UserError, did_you_mean

# tensorflow/core/example/feature.proto: each message's fields, numbered from 1.
LISTS = {
    "bytes_list": ("BytesList", "BYTES"),
    "float_list": ("FloatList", "FLOAT"),
    "int64_list": ("Int64List", "INT64"),
}


def parse(record: bytes) -> Any:
    """Returns the features of a serialised example, by key; raises UserError where it is none."""
    example, decode_error = _message()
    try:
        return example.FromString(record).features.feature
    except decode_error:
        raise UserError("is no tf.train.Example; write image and label as one, or say what it is") from None


def values(features: Any, key: str, kind: str) -> Any:
    """Returns what is at `key`, a list of `kind` ("bytes_list", "int64_list"); raises UserError if it is not there."""
    if key not in features:
        raise UserError(f'has no "{key}".{did_you_mean(key, sorted(features))}')
    found = features[key].WhichOneof("kind")
    if found not in (kind, None):
        raise UserError(f'has a {found} at "{key}", and a {kind} was wanted; name another key')
    return getattr(features[key], kind).value


@functools.cache
def _message() -> tuple[Any, type[Exception]]:
    """Returns the class of an example, and the error that it raises for other bytes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

    field: Any = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def add(parent: Any, name: str, number: int, kind: str, repeated: bool = False) -> Any:
        """Adds a field, of a scalar type or of a message's."""
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        scalar = getattr(field, f"TYPE_{kind}", None)
        if scalar is not None:
            return parent.field.add(name=name, number=number, label=label, type=scalar)
        message_type = f".tensorflow.{kind}"
        return parent.field.add(name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=message_type)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, (kind, scalar)) in enumerate(LISTS.items(), 1):
        add(file.message_type.add(name=kind), "value", 1, scalar, repeated=True)
        add(feature, name, number, kind).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, "STRING")
    add(entry, "value", 2, "Feature")
    add(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    add(file.message_type.add(name="Example"), "features", 1, "Features")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # a pool of its own, for tfds and TensorFlow put these names into the common one
    found = pool.FindMessageTypeByName("tensorflow.Example")
    return message_factory.GetMessageClass(found), message.DecodeError
