"""A folder of files as bad as they come, among good images that must all be kept.

Every good image shows its number, so that the pixels of a dataset tell which images are in it.
"""

import os
import socket
import struct
import warnings
import zlib
from contextlib import closing

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID, RLELossless
from tests.imaging.encodings import encode
from tests.imaging.objects import item, save_dicom

HOSTILE = (
    "../../../../escaped", "..", ".", "/escaped", "C:\\escaped", "\\\\host\\share", "escaped\0.dcm", "1.2.3\0/../4",
    "x" * 300, "王^小东", "\u202egnp.exe", "a\nb\rc", "%s%n%x", "{0.__class__}", "$(touch escaped)", "`touch escaped`",
    "'; DROP TABLE images; --", "=cmd|' /C calc'!A0", "<script>escaped()</script>", "-rf", "~", "*", "s3://bucket/escaped",
)  # fmt: skip
"""What a header may say of patient, study, series and object."""

NAMES = (
    b"\xe7\x8e\x8b\xe5\xb0\x8f\xe4\xb8\x9c.dcm", b"a\nb.dcm", b"\xff\xfe\x80.dcm", b"*?[x].dcm", b"#%20&=+.dcm",
    b"~.dcm", b"-rf.dcm", b"{0}.dcm", b"%s.dcm", b"$(touch escaped).dcm", b"..dcm", b"a\\..\\b.dcm", b" .dcm",
    b"x" * 251 + b".dcm", "\u202egnp.dcm".encode(), b"s3:.dcm", b"a::b.dcm", b"'\"`;|.dcm", b"\x01\x7f.dcm",
)  # fmt: skip
"""What a file may be called."""

STEP, PLACES = 8, 14
MIB = 1 << 20


def picture(number):
    """(32, 32) uint16: a number below 2^28 in patches of four levels, and a patch each of the darkest and brightest."""
    digits = [number >> 2 * place & 3 for place in range(PLACES)] + [0, 3]
    return np.kron(np.array(digits).reshape(4, 4), np.ones((STEP, STEP), int)).astype(np.uint16) * 1000


def number_of(image):
    """The number that a decoded image shows."""
    patches = image.reshape(4, STEP, 4, STEP).mean(axis=(1, 3)).ravel()
    return sum(round(patch / 85) << 2 * place for place, patch in enumerate(patches[:PLACES]))


class Folder:
    """Writes the files and remembers what has to become of them.

    Attributes:
        good: numbers of the images that have to be in the dataset, each once.
        bad: file (relative, as text) → (stage, reason) it has to be excluded with.
    """

    def __init__(self, root):
        self.root, self.good, self.bad = root, [], {}

    def image(self, name, **attributes):
        """Write a good image; return its path."""
        number = len(self.good) + 1
        self.good.append(number)
        path = self.root / os.fsdecode(name)
        return self.write(path, number, **attributes)

    def write(self, path, number, **attributes):
        header = {
            "PatientID": f"P{number}", "StudyInstanceUID": f"2.25.77{number}", "SeriesInstanceUID": f"2.25.78{number}",
            "SOPInstanceUID": f"2.25.79{number}", "BodyPartExamined": "KNEE", "WindowCenter": 1500, "WindowWidth": 3001,
            "BitsStored": 12, "HighBit": 11, "SeriesDescription": "AP", "Laterality": "L",
            "SpecificCharacterSet": "ISO_IR 192",
        }  # fmt: skip
        new = self.root / "new"
        save_dicom(new, picture(number), "DX", **header | attributes)
        path.parent.mkdir(parents=True, exist_ok=True)
        new.rename(path)
        return path

    def broken(self, name, stage, reason):
        """Write an image that will be damaged; return its path."""
        self.bad[name] = (stage, reason)
        return self.write(self.root / name, 10_000 + len(self.bad))


def write_folder(root):
    """Write all of it below ``root``."""
    root.mkdir(parents=True)
    folder = Folder(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of the values
        for part in (_plain, _hostile, _damaged, _other_objects, _bombs, _no_files):
            part(folder)
    return folder


def _plain(folder):
    for number in range(3):
        folder.image(f"plain/{number}.dcm")
    content = folder.image("no-preamble.dcm").read_bytes()
    (folder.root / "no-preamble.dcm").write_bytes(content[132:])
    for implicit in (True, False):
        path = folder.image(f"no-meta-{implicit}.dcm")
        _headless(path, implicit)
    content = folder.image("wrong-vr.dcm").read_bytes()
    wrong = content.replace(b"\x18\x00\x15\x00CS", b"\x18\x00\x15\x00FD").replace(
        b"\x08\x00\x3e\x10LO", b"\x08\x00\x3e\x10US"
    )
    assert wrong != content
    (folder.root / "wrong-vr.dcm").write_bytes(wrong)
    for syntax in ("big_endian", "implicit", "deflated", "rle", "jpeg_ls", "j2k", "jpeg_lossless_sv1"):
        encode(folder.image(f"{syntax}.dcm"), syntax)


def _hostile(folder):
    for number, text in enumerate(HOSTILE):
        folder.image(f"uid/{number}-patient.dcm", PatientID=text)
        uid = text.encode().decode("latin-1")  # the bytes of UTF-8 in an attribute that has no character set
        folder.image(f"uid/{number}-study.dcm", StudyInstanceUID=uid, AccessionNumber=text)
        folder.image(f"uid/{number}-series.dcm", SeriesInstanceUID=uid)
        folder.image(f"uid/{number}-object.dcm", SOPInstanceUID=uid, PatientName=text)
    for name in NAMES:
        folder.image(b"names/" + name)
    folder.image("/".join(["deep"] * 60) + "/a.dcm")
    folder.image("..a/...b/.c/d.dcm")


def _damaged(folder):
    truncated = folder.broken("truncated.dcm", "decode", "not_decodable")
    truncated.write_bytes(truncated.read_bytes()[:-700])
    for share in (0.1, 0.3):
        path = folder.broken(f"truncated-header-{share}.dcm", "read", "header_unreadable")
        path.write_bytes(path.read_bytes()[: 150 + int(share * 500)])
    folder.broken("empty.dcm", "read", "empty").write_bytes(b"")
    folder.broken("text.dcm", "read", "not_dicom").write_text("no image")
    folder.broken("noise.dcm", "read", "not_dicom").write_bytes(np.random.default_rng(0).bytes(5000))
    folder.broken("picture.dcm", "read", "other_format").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    path = folder.broken("program.dcm", "read", "executable_preamble")
    path.write_bytes(b"MZ" + path.read_bytes()[2:])
    _edited(folder.broken("missing-rows.dcm", "read", "no_pixels"), drop=["Rows"])
    _edited(folder.broken("missing-pixels.dcm", "decode", "not_decodable"), drop=["PixelData"])
    path = folder.broken("rows-of-wrong-vr.dcm", "read", "header_unreadable")
    content = path.read_bytes()
    wrong = content.replace(b"\x28\x00\x10\x00US\x02\x00\x20\x00", b"\x28\x00\x10\x00LO\x02\x00ab")
    assert wrong != content
    path.write_bytes(wrong)
    path = folder.broken("film-of-mpeg.dcm", "decode", "not_decodable")
    encode(path, "rle")
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    _edited(folder.broken("nobody.dcm", "select", "no_patient"), PatientID="")
    _edited(folder.broken("other.dcm", "select", "modality"), Modality="CT")


def _other_objects(folder):
    no_pixels = ("read", "no_pixels")
    for name in ("test-SR.dcm", "reportsi.dcm", "rtplan.dcm", "waveform_ecg.dcm"):
        with open(get_testdata_file(name, download=False), "rb") as file:
            folder.broken(f"objects/{name}", *no_pixels).write_bytes(file.read())
    with open(get_testdata_file("DICOMDIR", download=False), "rb") as file:
        folder.broken("objects/DICOMDIR.dcm", "read", "dicomdir").write_bytes(file.read())
    drop = ["Rows", "Columns", "PixelData", "BitsAllocated"]
    document = folder.broken("objects/pdf.dcm", *no_pixels)
    _edited(document, drop, Modality="DOC", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
            MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=b"%PDF-1.7 JANE DOE ")  # fmt: skip
    selection = folder.broken("objects/key-object.dcm", *no_pixels)
    _edited(selection, drop, Modality="KO", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59",
            ContentSequence=[item(ValueType="IMAGE", RelationshipType="CONTAINS")])  # fmt: skip


def _bombs(folder):
    _edited(folder.broken("bombs/declared.dcm", "read", "too_large"), Rows=60_000, Columns=60_000)
    _edited(folder.broken("bombs/frames.dcm", "read", "too_large"), NumberOfFrames=2**31 - 1)
    path = folder.broken("bombs/rle.dcm", "decode", "not_decodable")
    _edited(path, Rows=16_000, Columns=16_000, BitsAllocated=16)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([struct.pack("<16I", 2, 64, 100, *[0] * 13) + b"\x81\x07" * 99])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.save_as(path)
    _inflating(folder.broken("bombs/deflated-header.dcm", "read", "too_large"), header=400)
    _inflating(folder.broken("bombs/deflated-pixels.dcm", "decode", "too_large"), pixels=400)
    path = folder.broken("bombs/deflated-declared.dcm", "read", "too_large")
    _edited(path, Rows=60_000, Columns=60_000)
    encode(path, "deflated")


def _no_files(folder):
    unreadable = ("read", "file_unreadable")
    for name, target in (
        ("dangling", "nowhere"),
        ("self", "self.dcm"),
        ("to-a-folder", "plain"),
        ("memory", "/proc/self/mem"),
    ):
        (folder.root / f"{name}.dcm").symlink_to(target)
        folder.bad[f"{name}.dcm"] = unreadable
    for name, target in (("loop", "."), ("plain/up", ".."), ("deep/root", "/")):
        (folder.root / name).symlink_to(target)
    os.mkfifo(folder.root / "pipe.dcm")
    folder.bad["pipe.dcm"] = unreadable
    with closing(socket.socket(socket.AF_UNIX)) as end:
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder.root)  # the address of a socket must be short
        end.bind("socket.dcm")
        os.fchdir(here)
        os.close(here)
    folder.bad["socket.dcm"] = unreadable
    if os.geteuid():  # root may read everything
        folder.broken("locked.dcm", *unreadable).chmod(0)


def _edited(path, drop=(), **attributes):
    dataset = dcmread(path)
    for name in drop:
        delattr(dataset, name)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def _headless(path, implicit):
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, True
    write_dataset(stream, dcmread(path))
    path.write_bytes(stream.getvalue())


def _inflating(path, header=0, pixels=0):
    """A deflated file with so many MiB of zeros in an element before the pixels, or in the pixels."""
    encode(path, "deflated")
    content = path.read_bytes()
    start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    tag = struct.pack("<HH2s", tag_for_keyword("PixelData") >> 16, 0x0010, b"OW")
    before, found, behind = plain.partition(tag)
    assert found
    private = struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, header * MIB) if header else b""
    packed = packer.compress(before + private)
    packed += b"".join(packer.compress(bytes(MIB)) for _ in range(header))
    if pixels:
        behind = struct.pack("<HI", 0, pixels * MIB)
    packed += packer.compress(tag + behind) + b"".join(packer.compress(bytes(MIB)) for _ in range(pixels))
    path.write_bytes(content[:start] + packed + packer.flush())
