import collections
import functools
import importlib
import os
import pickle
import struct

import numpy as np
import pytest
from official_files import made, mutated

from cmc.exchange import pickles


def load(tmp_path, data):
    path = tmp_path / "data.pkl"
    path.write_bytes(data)
    return pickles.load(path)[0]


def fails(tmp_path, data, match):
    """Reading stops with an error that names the file."""
    with pytest.raises(pickles.PickleError, match=match) as caught:
        load(tmp_path, data)
    assert "data.pkl" in str(caught.value)


def values(held):
    """What was read, with real arrays."""
    if isinstance(held, pickles.Array):
        return held.values()
    if isinstance(held, dict):
        return {key: values(value) for key, value in held.items()}
    return type(held)(map(values, held)) if isinstance(held, list | tuple) else held


# ---------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_come_back(tmp_path, protocol):
    data = {
        "text": ["", "a", "\u706b\u8f66", "b" * 5000],
        "bytes": [b"", b"a\xff", b"c" * 4000],
        "numbers": [0, 1, 255, -1, 1 << 30, 1 << 70, -(1 << 70), 1.5, -0.0, float("inf"), True, False, None],
        "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, [4, {}])),
        "scalars": [np.float32(0.1), np.int64(-3), np.str_("a"), np.bool_(True)],
    }
    assert values(load(tmp_path, pickle.dumps(data, protocol))) == data
    shared = [data, data]
    found = load(tmp_path, pickle.dumps(shared, protocol))
    assert found[0] is found[1]
    ordered = collections.OrderedDict(b=1, a=2)
    assert list(load(tmp_path, pickle.dumps(ordered, protocol)).items()) == [("b", 1), ("a", 2)]


def test_large_texts_are_arrays_or_stay_in_the_file(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)
    data = pickle.dumps([array, "\u706b" * (1 << 20)], 2)
    found, text = load(tmp_path, data)
    assert isinstance(found.data, pickles.Text) and isinstance(text, pickles.Text)
    np.testing.assert_array_equal(found.values(), array)
    assert str(text.data, "utf-8") == "\u706b" * (1 << 20)
    at = data.index(b"\xc3")  # of the array's first byte beyond ASCII
    with pytest.raises(ValueError, match="utf-8"):
        load(tmp_path, data[:at] + b"\xff" + data[at + 1 :])[0].values()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i1", "<i8", ">u4", "?", "U3", "S4", "O"])
def test_arrays_come_back(tmp_path, dtype, protocol):
    for shape in ((0,), (6,), (2, 3), (0, 3), (1, 2, 3)):
        array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        for one in (array, np.asfortranarray(array)):
            found = load(tmp_path, pickle.dumps(one, protocol)).values()
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_large_bytes_come_back_as_views(tmp_path):
    data = b"abc" * 5000
    assert bytes(load(tmp_path, pickle.dumps(data, 4))) == data
    assert bytes(load(tmp_path, pickle.dumps(bytearray(data), 5))) == data


def test_python2_strings():
    array = np.arange(3, dtype="<f4") * 1000
    raw = array.tobytes()
    text = (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85"
            b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
            + bytes([len(raw)]) + raw + b"tb.")  # fmt: skip
    np.testing.assert_array_equal(pickle.loads(text, encoding="latin1"), array)
    np.testing.assert_array_equal(pickles.loads(memoryview(text), "f").values(), array)


def test_large_arrays_are_views_of_the_file():
    data = memoryview(pickle.dumps(np.zeros(10**5), 4))
    assert np.shares_memory(pickles.loads(data, "f").values(), np.frombuffer(data, np.uint8))


# ---------------------------------------------------------------------------------------------- hostile files


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


class Made:
    """Pickles as an object that is made without a call."""


@pytest.fixture
def marker(tmp_path):
    """A file that hostile pickles would create; beside the folder that the import may write to."""
    path = tmp_path.parent / f"{tmp_path.name}.marker"
    yield path
    assert not path.exists()


def nested(value):
    array = np.empty(2, object)
    array[:] = ["a", value]
    return array


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "wrap",
    [lambda x: x, lambda x: [{"a": ("b", x)}], lambda x: made() | {"x": x}, lambda x: {"x": nested(x)}],
)
def test_calls_are_refused(tmp_path, marker, protocol, wrap):
    touch = f"touch {marker}"
    calls = {
        "system": Call(os.system, touch),
        r"builtins?(__)?\.eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        r"builtins?(__)?\.exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Call(getattr, "", "format"),
        "importlib.*import_module": Call(importlib.import_module, "os"),
        r"(io|builtins?(__)?)\.open": Call(open, str(marker), "w"),
        "functools.partial": Call(functools.partial, os.system, touch),
        "numpy.*fromfile": Call(np.fromfile, "/etc/hostname"),
        "numpy.*load": Call(np.load, "/etc/hostname"),
        "Made": Made(),
        "pickle": Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
    }  # fmt: skip
    for name, call in calls.items():
        fails(tmp_path, pickle.dumps(wrap(call), protocol), rf"refused: at byte \d+ it names .*{name}")


def test_the_marker_test_can_fail(tmp_path):
    """Python's own machine does create the marker."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {path}")))
    assert path.exists()


ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n"
F4 = DTYPE + b"X\x02\x00\x00\x00f4\x89\x88\x87R"
EMPTY_ARRAY = ARRAY + NDARRAY + b"K\x00\x85C\x01b\x87R"
STRING = b"X\x01\x00\x00\x00a"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cos\nsystem\n", "names os.system"),
        (b"\x8c\x02os\x8c\x06system\x93", "names os.system"),
        (b"\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93", "names os.system"),  # by way of the memo
        (b"cnumpy\nndarray.__reduce__\n", "names numpy.ndarray.__reduce__"),
        (b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93", "names numpy.ndarray.dumps"),
        (b"cnumpy.core.multiarray\nscalar.__self__\n", "names"),
        (b"cnumpy.core.multiarray\nfromfile\n", "names"),
        (b"c__builtin__\ngetattr\n", "names"),
        (b"\x8c\x02os]\x93", "a name is a list"),
        (b"cos", "a name does not end"),
        (b"c" + b"a" * 1000, "a name does not end"),
        (NDARRAY + b"K\x05\x85R", "calls ndarray"),  # an allocation as large as it says
        (NDARRAY + b"(J\xff\xff\xff\x7ftR", "calls ndarray"),
        (ARRAY + NDARRAY + b"\x85R", "calls reconstruct"),
        (ARRAY + DTYPE + b"K\x00\x85C\x01b\x87R", "calls reconstruct"),
        (ARRAY + NDARRAY + b"K\x00\x85C\x01b\x87\x85R", "calls reconstruct"),
        (DTYPE + b"]\x85R", "calls dtype"),
        (DTYPE + b")R", "calls dtype"),
        (DTYPE + b"}R", "calls dtype"),
        (b"c_codecs\nencode\n" + STRING + b"X\x03\x00\x00\x00zip\x86R", "calls encode"),
        (b"c_codecs\nencode\n" + STRING + b"X\x06\x00\x00\x00rot_13\x86R", "calls encode"),
        (b"c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R", "is damaged"),
        (b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R", "calls bytes"),
        (b"ccollections\nOrderedDict\n](K\x01K\x02e\x85R", "calls ordered_dict"),
        (STRING + b")R", "calls a str"),
        (EMPTY_ARRAY + b")R", "calls a Array"),
        (b"}X\x01\x00\x00\x00ab", "sets a as the state of a dict"),
        (b"}}X\x09\x00\x00\x00__class__Nsb", "sets .* as the state of a dict"),
        (STRING + b"}b", "as the state of a str"),
        (NDARRAY + b"}b", "as the state of a Name"),
        (EMPTY_ARRAY + b"}b", "as the state of a Array"),
        (EMPTY_ARRAY + b"N}\x86b", "as the state of a Array"),
        (F4 + b"}b", "as the state of a Dtype"),
        (F4 + b"(K\x03X\x01\x00\x00\x00<K\x01NNtb", "as the state of a Dtype"),  # a dtype inside
        (b"(cos\nsystem\no", "names os.system"),
        (b"(ios\nsystem\n", "uses the opcode 'i'"),
        (NDARRAY + b")\x81", r"uses the opcode '\\x81'"),
        (b"X\x01\x00\x00\x00aQ", "uses the opcode 'Q'"),
        (b"Paa\n", "uses the opcode 'P'"),
        (b"\x82\x01", r"uses the opcode '\\x82'"),
        (b"\x97", r"uses the opcode '\\x97'"),
        (b"}K\x01K\x02s", "has a int as a key"),
        (b"})K\x02s", "has a tuple as a key"),
        (b"}]K\x02s", "has a list as a key"),
        (b"}(K\x01u", "keys and values"),
        (b"](K\x01s", "is damaged"),
        (b"Na", "is damaged"),
        (b"NNa", "items are added to a NoneType"),
        (b"t", "is damaged"),
        (b"e", "is damaged"),
        (b"\x85", "too few items"),
        (b"N\x87", "too few items"),
        (b"h\x07", "is damaged"),
        (b"q\x01", "is damaged"),
        (b"R", "is damaged"),
        (b"", "is damaged"),
        (b"G\x00", "is damaged"),
        (b"X\x01\x00\x00\x00\xff", "is damaged"),
        (b"\x8b\xff\xff\xff\x7f", "cut off"),
        (b"\x8b\x00\x00\x00\xff", "cut off"),
        (b"\x8a\x11" + b"\x01" * 17, "an integer has 17 bytes"),
        *[(code + struct.pack("<Q", length), "bytes but 1 are left: the file is cut off")
          for code in (b"\x8e", b"\x8d", b"\x96") for length in (10**12, 2**63 - 1, 2**64 - 1)],
        (b"B\xff\xff\xff\xff", "cut off"),
        (b"T\xff\xff\xff\xff", "cut off"),
    ],
)  # fmt: skip
def test_programs_are_refused(tmp_path, marker, program, message):
    fails(tmp_path, b"\x80\x04" + program + b".", message)


def claimed(shape, code="f4", data=b"", order="<"):
    """Pickles as an array of which none of this need be true."""
    dtype = Call(np.dtype, code, False, True, state=(3, order, None, None, None, -1, -1, 0))
    state = (1, shape, dtype, False, data)
    return Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=state)


def test_claims_are_checked_before_anything_is_allocated(tmp_path, marker):
    claims = [
        (claimed((10**12,)), "claims the shape"),
        (claimed((10**9,)), "needs 4000000000 bytes or objects, found 0"),
        (claimed((10**6, 10**6, 10**6)), "needs 4000000000000000000 bytes"),
        (claimed((2**31, 2**31, 0)), "claims the shape"),
        (claimed((10**30, 0)), "claims the shape"),
        (claimed((-1, -2), data=b"a" * 8), "claims the shape"),
        (claimed((True,), data=b"a" * 4), "claims the shape"),
        (claimed((2.0,), data=b"a" * 8), "claims the shape"),
        (claimed(((2,),), data=b"a" * 8), "claims the shape"),
        (claimed((1,) * 40, data=b"a" * 4), "claims the shape"),
        (claimed((2,), data=b"a" * 7), "needs 8 bytes or objects, found 7"),
        (claimed((2,), data=[1, 2]), "holds its data as a list"),
        (claimed((2,), data=None), "holds its data as a NoneType"),
        (claimed((10**9,), "O", ["a"]), "needs 1000000000 bytes or objects, found 1"),
        (claimed((8,), "O", b"a" * 8), "holds its data as a bytes"),
        (claimed((1,), "O", [{}]), "an object array holds a dict"),
        (claimed((1,), "O", [claimed((1,), data=b"a" * 4)]), "an object array holds a Array"),
        (claimed((1,), "O", [()]), "an object array holds a tuple"),
        (claimed((10**9,), "S0"), "is none of numbers"),
        (claimed((1,), "U99999999999"), "is none of numbers"),
        (claimed((1,), "M8[s]", b"a" * 8), "is none of numbers"),
        (claimed((1,), "f4,O", b"a" * 12), "is none of numbers"),
        (claimed((1,), "f4", b"a" * 4, "f4,"), "is none of numbers"),
    ]
    for claim, message in claims:
        held = load(tmp_path, pickle.dumps(claim))
        with pytest.raises(ValueError, match=message):
            held.values()


def test_arrays_without_a_state(tmp_path):
    array = Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b")
    with pytest.raises(ValueError, match="an array without a state"):
        load(tmp_path, pickle.dumps(array)).values()


def test_text_that_is_no_unicode(tmp_path):
    for code in (0x110000, 0xFFFFFFFF):
        array = load(tmp_path, pickle.dumps(claimed((2,), "U1", struct.pack("<II", 65, code))))
        with pytest.raises(ValueError, match="an array of text holds code points beyond Unicode"):
            array.values()


def test_copies_do_not_multiply(tmp_path):
    """A memoized piece that is encoded again and again would fill any memory."""
    text = b"X" + struct.pack("<I", 4000) + b"a" * 4000 + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    fails(tmp_path, b"\x80\x04" + text + again * 100 + b".", "unfolds to more bytes than it has")


def test_containers_that_unfold_without_end_cost_nothing(tmp_path):
    """Each tuple holds the last one twice, and errors must not print or compare them."""
    bomb = b")" + b"q\x00h\x00\x86" * 200
    assert type(load(tmp_path, b"\x80\x04" + bomb + b".")) is tuple
    fails(tmp_path, b"\x80\x04}" + bomb + b"Ns.", "a tuple as a key")
    fails(tmp_path, b"\x80\x04N" + bomb + b"R.", "calls a NoneType")
    fails(tmp_path, b"\x80\x04N" + bomb + b"b.", "as the state of a NoneType")
    array = EMPTY_ARRAY + b"(K\x01)" + F4 + b"\x89" + bomb + b"tb"
    fails(tmp_path, b"\x80\x04N" + array + b"R.", "calls a NoneType with <cmc.exchange")
    assert type(load(tmp_path, b"\x80\x04]q\x00h\x00a.")) is list  # in itself
    fails(tmp_path, b"\x80\x04" + b"(" * 10**5 + b"t" * 10**5 + b".", "nests more than 100 deep")


# ---------------------------------------------------------------------------------------------- damaged files


def test_files_that_are_none_stop(tmp_path):
    fails(tmp_path, pickle.dumps([1], 0), "no pickle of protocol 2 to 5")
    fails(tmp_path, b"<!DOCTYPE html>", "begins with b'<!DOCTYPE html>'.*web page")
    fails(tmp_path, b"", "is empty")
    fails(tmp_path, b"\x80", "no pickle of protocol")
    fails(tmp_path, b"\x80\x09.", "no pickle of protocol")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing.pkl", tmp_path / "pipe"):
        with pytest.raises(pickles.PickleError, match=f"{path} is no file"):
            pickles.load(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cut_files_are_damaged(tmp_path, protocol):
    data = pickle.dumps(made(), protocol)
    for length in range(2, len(data), 3):
        with pytest.raises(pickles.PickleError, match="f is damaged: at byte"):
            pickles.loads(memoryview(data[:length]), "f")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_mutated_files_are_read_or_refused(protocol, marker):
    """Whatever happens to a file's bytes, the announced errors alone may come, and no code may run."""
    rng = np.random.default_rng(protocol)
    valid = pickle.dumps(made(unimodal=True), protocol)
    attack = b"cos\nsystem\n" + pickle.dumps(f"touch {marker}", 2)[2:-1] + b"\x85R"
    fates = collections.Counter()
    for _ in range(3000):
        try:
            values(pickles.loads(memoryview(mutated(valid, rng, attack)), "f"))
            fates["read"] += 1
        except pickles.PickleError as error:
            fates["refused" if "refused" in str(error) else "damaged"] += 1
        except ValueError:  # of `values`
            fates["array"] += 1
    assert min(fates.values()) > 5 and len(fates) == 4, fates


@pytest.mark.parametrize(
    ("piece", "message"),
    [(b"(", "nests more than 100 deep"), (b"]", "makes more than 1048576 lists and dicts")],
)
def test_small_pieces_that_would_fill_the_memory(piece, message):
    with pytest.raises(pickles.PickleError, match=message):
        pickles.loads(memoryview(b"\x80\x04" + piece * (1 << 21) + b"."), "f")
