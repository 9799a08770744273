"""Writes SAS7BDAT files with the ReadStat library that pyreadstat carries but does not offer for this format."""

import ctypes
from pathlib import Path

import pyreadstat

POINTER = ctypes.c_void_p
SINK = ctypes.CFUNCTYPE(ctypes.c_ssize_t, POINTER, ctypes.c_size_t, POINTER)
TEXT, NUMBER = 0, 5
WIDTH = 64


def write_sas7bdat(path, table):
    """Columns of floats become numbers (NaN = missing), all others texts of `WIDTH` characters."""
    library = ctypes.CDLL(str(next(Path(pyreadstat.__file__).parent.glob("_readstat_writer*.so"))))
    content = bytearray()

    @SINK
    def sink(data, size, _):
        content.extend(ctypes.string_at(data, size))
        return size

    def call(name, *values, returns=ctypes.c_int):
        function = getattr(library, f"readstat_{name}")
        function.restype = returns
        return function(*values)

    writer = POINTER(call("writer_init", returns=POINTER))
    call("set_data_writer", writer, sink)
    kinds = {name: NUMBER if table[name].dtype.kind == "f" else TEXT for name in table.columns}
    columns = {
        name: POINTER(call("add_variable", writer, name.encode(), kind, ctypes.c_size_t(WIDTH), returns=POINTER))
        for name, kind in kinds.items()
    }
    assert call("begin_writing_sas7bdat", writer, None, ctypes.c_long(len(table))) == 0
    for row in table.to_dict("records"):
        call("begin_row", writer)
        for name, column in columns.items():
            if kinds[name] == TEXT:
                call("insert_string_value", writer, column, str(row[name]).encode())
            elif row[name] == row[name]:
                call("insert_double_value", writer, column, ctypes.c_double(row[name]))
            else:
                call("insert_missing_value", writer, column)
        call("end_row", writer)
    assert call("end_writing", writer) == 0
    call("writer_free", writer)
    path.write_bytes(content)
