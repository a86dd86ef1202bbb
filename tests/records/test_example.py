"""Examples are TensorFlow's: what we write it parses, what it writes we read."""

import numpy as np
import pytest

from ferlab.records.example import decode_example, encode_example

FEATURES = {
    "id": "train/Grüße 1.jpg".encode(),
    "image": bytes(range(256)) * 40,
    "label": [6],
    "valence": [-0.25],
    "votes": [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)],
    "points": [0.0, 1.5, -3.25, 1e30],
    "empty": b"",
}


def of_tensorflow(tf, features) -> bytes:
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if value and isinstance(value[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    made = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def test_tensorflow_parses_what_we_write(tf):
    parsed = tf.io.parse_single_example(
        encode_example(FEATURES),
        {
            "id": tf.io.FixedLenFeature([], tf.string),
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([1], tf.int64),
            "valence": tf.io.FixedLenFeature([1], tf.float32),
            "votes": tf.io.FixedLenFeature([9], tf.int64),
            "points": tf.io.FixedLenFeature([4], tf.float32),
            "empty": tf.io.FixedLenFeature([], tf.string),
        },
    )
    for name, value in FEATURES.items():
        stored = parsed[name].numpy()
        assert stored == value if isinstance(value, bytes) else np.allclose(stored, value)
    assert parsed["votes"].numpy().tolist() == FEATURES["votes"]


def test_tensorflows_own_message_class_reads_ours_with_the_same_fields(tf):
    theirs = tf.train.Example.FromString(encode_example(FEATURES))
    assert set(theirs.features.feature) == set(FEATURES)
    assert theirs == tf.train.Example.FromString(of_tensorflow(tf, FEATURES))


def test_we_read_what_tensorflow_writes(tf):
    read = decode_example(of_tensorflow(tf, FEATURES))
    assert set(read) == set(FEATURES)
    for name, value in FEATURES.items():
        assert read[name] == (value if isinstance(value, bytes) else pytest.approx(value))
    assert read["votes"] == FEATURES["votes"]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 16_383, 16_384, 70_000])
def test_payloads_of_every_length_come_back(size, tf):
    payload = np.random.default_rng(size).bytes(size)
    message = encode_example({"image": payload})
    assert decode_example(message) == {"image": payload}
    assert tf.train.Example.FromString(message).features.feature["image"].bytes_list.value[0] == payload


def test_the_order_of_keys_does_not_change_the_bytes():
    assert encode_example(dict(reversed(FEATURES.items()))) == encode_example(FEATURES)


def test_an_example_without_features_is_empty():
    assert decode_example(encode_example({})) == {}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.array([0.5, 0.25], np.float32), id="float32 array"),
        pytest.param([1, 0.5], id="whole number first"),
    ],
)
def test_numbers_with_a_fraction_are_never_cut_to_whole_ones(values):
    assert decode_example(encode_example({"points": values}))["points"] == pytest.approx(list(values))


def test_other_features_are_passed_over():
    assert decode_example(encode_example(FEATURES), only=("label", "id")) == {
        "label": FEATURES["label"],
        "id": FEATURES["id"],
    }
    assert decode_example(encode_example(FEATURES), only=("absent",)) == {}
