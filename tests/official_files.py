"""Official feature files as their data sets have them, made up."""

import pickle

import numpy as np

SHAPES = {  # tokens; audio frames and dims; vision frames and dims
    "chsims": (39, (400, 33), (55, 709)),
    "chsimsv2": (50, (925, 25), (232, 177)),
    "mosi": (50, (375, 5), (500, 20)),
    "mosei": (50, (500, 74), (500, 35)),
}
TINY = (6, (5, 2), (4, 3))
CLS, SEP = 101, 102


def made(shape=TINY, clips=2, hidden=3, dtype=np.float32, unimodal=False, seed=0, words=(1000, 20000)):
    """Splits as the official files have them; split s has the clips v<s>$_$0000, ...

    `clips` is their number in each split, or in train, valid and test.
    """
    rng, (tokens, audio, vision) = np.random.default_rng(seed), shape
    splits, counts = {}, [clips] * 3 if isinstance(clips, int) else clips
    for place, (name, clips) in enumerate(zip(("train", "valid", "test"), counts, strict=True)):
        bert = np.zeros((clips, 3, tokens), dtype)
        for row, length in zip(bert, rng.integers(3, tokens + 1, clips), strict=True):
            row[0, :length] = [CLS, *rng.integers(*words, length - 2), SEP]
            row[1, :length] = 1
        splits[name] = {
            "raw_text": [f"it is {i}" for i in range(clips)],
            "id": [f"v{place}$_${i:04d}" for i in range(clips)],
            "text": rng.normal(size=(clips, tokens, hidden)).astype(dtype),
            "text_bert": bert,
            "audio": rng.normal(size=(clips, *audio)).astype(dtype),
            "vision": rng.normal(size=(clips, *vision)).astype(dtype) * 1e5,
            "audio_lengths": rng.integers(1, audio[0] + 1, clips).tolist(),
            "vision_lengths": rng.integers(1, vision[0] + 1, clips).tolist(),
            "annotations": ["Neutral"] * clips,
            "regression_labels": np.linspace(-0.6, 0.8, clips).astype(np.float32),
        }
        if unimodal:
            splits[name] |= {f"regression_labels_{letter}": np.full(clips, 0.2) for letter in "TAV"}
    return splits


def dump(tmp_path, splits, protocol=4):
    path = tmp_path / "unaligned.pkl"
    path.write_bytes(splits if isinstance(splits, bytes) else pickle.dumps(splits, protocol))
    return path


def mutated(data, rng, attack):
    """Bytes changed, flipped, taken out, copied, or with an attack put in, at one to three places."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(2, len(changed)))
        match rng.integers(5):
            case 0:
                changed[at] = rng.integers(256)
            case 1:
                changed[at] ^= 1 << rng.integers(8)
            case 2:
                del changed[at : at + rng.integers(1, 9)]
            case 3:
                changed[at:at] = data[(other := rng.integers(2, len(data))) : other + rng.integers(1, 40)]
            case 4:
                changed[at:at] = attack
    return bytes(changed)
