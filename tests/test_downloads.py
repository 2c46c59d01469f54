"""Downloads against a server of our own: broken, resumed, wrong, too large."""

import hashlib
import json
import re
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from helpers import downloads, transfer
from helpers.settings import CourseError

DATA = np.random.default_rng(0).bytes(300_000)
MD5 = "md5:" + hashlib.md5(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`, with ranges or without; can break off in the middle."""

    def do_GET(self):
        server, path = self.server, self.path.removeprefix("/")
        span = self.headers.get("Range")
        server.asked.append((path, span))
        if path not in server.files:
            return self.send_error(404)
        data = whole = server.files[path]
        if span and server.ranges:
            start, end = re.match(r"bytes=(\d+)-(\d*)", span).groups()
            start, end = int(start), int(end or len(whole) - 1)
            data = whole[start : end + 1]
            self.send_response(206 if data else 416)
            place = f"{start}-{end}" if data else "*"
            self.send_header("Content-Range", f"bytes {place}/{len(whole)}")
        else:
            self.send_response(200)
        if server.length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            data = data[: len(data) // 2]
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {"a.bin": DATA}, []
    server.ranges, server.length, server.breaks = True, True, 0
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data/set/a.bin"


def seen(path):
    """What lies beside a file, locks aside."""
    return sorted(p.name for p in path.parent.iterdir() if p.suffix != ".lock")


def refused(function, *args, **options):
    with pytest.raises(CourseError) as error:
        function(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_fetched_once(server, path):
    for _ in range(2):
        downloads.fetch(server.url + "a.bin", path, MD5, len(DATA))
    assert path.read_bytes() == DATA and seen(path) == ["a.bin"]
    assert server.asked == [("a.bin", None)]


@pytest.mark.parametrize("known_hash", [MD5, None])
def test_a_broken_connection_is_resumed(server, path, known_hash):
    server.breaks = 2
    downloads.fetch(server.url + "a.bin", path, known_hash)
    assert path.read_bytes() == DATA
    first, *rest = [span for _, span in server.asked]
    starts = [int(re.match(r"bytes=(\d+)-$", span)[1]) for span in rest]
    assert first is None and 0 < starts[0] < starts[1] < len(DATA)


def test_what_a_dead_run_left_is_used(server, path):
    path.parent.mkdir(parents=True)
    (path.parent / ".a.bin.part").write_bytes(DATA[:1000])
    downloads.fetch(server.url + "a.bin", path, MD5, len(DATA))
    assert server.asked == [("a.bin", "bytes=1000-")] and seen(path) == ["a.bin"]


@pytest.mark.parametrize("left", [len(DATA), len(DATA) + 5])
def test_a_whole_or_too_long_rest(server, path, left):
    path.parent.mkdir(parents=True)
    (path.parent / ".a.bin.part").write_bytes((DATA + b"12345")[:left])
    downloads.fetch(server.url + "a.bin", path, MD5)
    assert path.read_bytes() == DATA


def test_a_server_without_ranges_begins_anew(server, path):
    server.ranges, server.breaks = False, 1
    downloads.fetch(server.url + "a.bin", path, MD5)
    assert path.read_bytes() == DATA
    assert len(server.asked) == 2 and server.asked[1][1].startswith("bytes=")


def test_a_connection_that_brings_nothing_is_given_up(server, path):
    server.files["a.bin"], server.breaks = b"x", 99
    line = refused(downloads.fetch, server.url + "a.bin", path, None)
    assert "no connection; run the same again" in line and f"save it as {path}" in line
    assert not path.exists() and len(server.asked) == transfer.TRIES


def test_a_wrong_checksum_removes_the_file(server, path):
    line = refused(downloads.fetch, server.url + "a.bin", path, "md5:" + "0" * 32)
    assert "checksum is wrong, so the file was removed" in line
    assert seen(path) == []
    path.write_bytes(b"old")
    downloads.fetch(server.url + "a.bin", path, MD5)
    assert path.read_bytes() == DATA


def test_a_missing_file_and_a_missing_host(server, path):
    line = refused(downloads.fetch, server.url + "b.bin", path, None)
    assert "the server answers 404" in line and server.url + "b.bin" in line
    server.shutdown()
    server.server_close()
    assert "no connection" in refused(downloads.fetch, server.url, path, None)


def test_another_size_than_the_record_says(server, path):
    line = refused(downloads.fetch, server.url + "a.bin", path, MD5, 299_999)
    assert "300,000 bytes instead of 299,999" in line


@pytest.mark.parametrize("length", [True, False])
def test_no_file_is_larger_than_the_limit(server, path, monkeypatch, length):
    monkeypatch.setattr(transfer, "LIMIT", 200_000)
    server.length = length
    line = refused(downloads.fetch, server.url + "a.bin", path, None)
    assert "instead of 200,000" in line and not path.exists()


def little_room(monkeypatch, free):
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_small_disk_is_refused_before_the_first_byte(server, path, monkeypatch):
    little_room(monkeypatch, 400_000)
    url = server.url + "a.bin"
    line = refused(downloads.fetch, url, path, MD5, len(DATA), unpacked=len(DATA))
    assert "needs 600,000 bytes and 400,000 are free" in line
    assert str(path.parent) in line and server.asked == []
    little_room(monkeypatch, 200_000)  # the size comes with the answer
    assert "needs 300,000 bytes" in refused(downloads.fetch, url, path, None)
    assert seen(path) == []


def zipped(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_a_zip_without_its_stubs_and_its_outer_folder(tmp_path):
    members = {"top/": b"", "top/a.jpg": b"1", "top/x/b.jpg": b"2"}
    members |= {"__MACOSX/top/._a.jpg": b"3", "top/._a.jpg": b"4"}
    folder = downloads.unzip(zipped(tmp_path / "a.zip", members), tmp_path / "out")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"a.jpg", "x/b.jpg"}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "top/../../evil"])
def test_a_zip_that_leaves_its_folder(tmp_path, name):
    archive = zipped(tmp_path / "in/a.zip", {"top/a": b"1", name: b"2"})
    line = refused(downloads.unzip, archive, tmp_path / "in/out")
    assert "would lie outside; refused" in line
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_a_zip_bomb_and_a_small_disk(tmp_path, monkeypatch):
    bomb = zipped(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    assert "would unpack to 3,000,000 bytes" in refused(
        downloads.unzip, bomb, tmp_path / "out"
    )
    plain = zipped(tmp_path / "b.zip", {"a": DATA})
    little_room(monkeypatch, 1000)
    assert "needs 300,000" in refused(downloads.unzip, plain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_zip(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": DATA})
    data = bytearray(archive.read_bytes())
    data[1000] ^= 255
    for bad in (data, data[:5000], b""):
        archive.write_bytes(bad)
        line = refused(downloads.unzip, archive, tmp_path / "out")
        assert str(archive) in line and "remove it and run again" in line
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.fixture
def dataverse(server, tmp_path, monkeypatch):
    """A record as Dataverse gives it: the table's md5 is that of the original."""
    files, table = [], b"lesion_id,image_id\nHAM_1,ISIC_1\n"
    for number, stem in enumerate(downloads.HAM_ZIPS):
        members = {f"{stem}/ISIC_{number}.jpg": DATA, f"__MACOSX/{stem}/._x": b"x"}
        data = zipped(tmp_path / "made" / stem, members).read_bytes()
        server.files[f"api/access/datafile/{number}"] = data
        files.append((number, f"{stem}.zip", data, {}))
    extra = {"originalFileFormat": "text/csv", "originalFileSize": len(table)}
    files.append((9, "HAM10000_metadata.tab", table, extra))
    server.files["api/access/datafile/9?format=original"] = table
    record = [
        {
            "dataFile": {
                "id": number,
                "filename": name,
                "filesize": len(data) + bool(extra) * 7,
                "md5": hashlib.md5(data).hexdigest(),
                **extra,
            }
        }
        for number, name, data, extra in files
    ]
    name = f"api/datasets/:persistentId/?persistentId={downloads.HAM_DOI}"
    body = {"status": "OK", "data": {"latestVersion": {"files": record}}}
    server.files[name] = json.dumps(body).encode()
    monkeypatch.setattr(downloads, "DATAVERSE", server.url.rstrip("/"))
    return name


def test_ham10000_by_its_record(server, dataverse, tmp_path):
    folder = tmp_path / "data/ham10000"
    downloads.ham10000(folder)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*.[jc][ps][gv]")}
    assert files == {
        "HAM10000_metadata.csv",
        "HAM10000_images_part_1/ISIC_0.jpg",
        "HAM10000_images_part_2/ISIC_1.jpg",
        "HAM10000_segmentations_lesion_tschandl/ISIC_2.jpg",
    }
    assert not list(folder.glob("*.zip"))
    server.asked.clear()
    downloads.ham10000(folder)
    assert len(server.asked) == 1  # the record alone


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data": {}}'])
def test_a_record_that_is_none(server, dataverse, tmp_path, body):
    server.files[dataverse] = body
    line = refused(downloads.ham10000, tmp_path / "ham")
    assert "https://doi.org/10.7910/DVN/DBW86T" in line and str(tmp_path) in line
    del server.files[dataverse]
    assert "404" in refused(downloads.ham10000, tmp_path / "ham")


def test_isic2019(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ISIC", server.url + "T_")
    monkeypatch.setattr(downloads, "ISIC_UNPACKED", 0)
    archive = zipped(tmp_path / "i.zip", {"Input/ISIC_1.jpg": DATA})
    server.files["T_Input.zip"] = archive.read_bytes()
    server.files["T_GroundTruth.csv"] = server.files["T_Metadata.csv"] = b"image\n"
    folder = tmp_path / "isic"
    downloads.isic2019(folder)
    assert (folder / "ISIC_2019_Training_Input/ISIC_1.jpg").read_bytes() == DATA
    assert (folder / "ISIC_2019_Training_Metadata.csv").is_file()


def test_dermamnist(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ZENODO", server.url)
    monkeypatch.setitem(downloads.DERMAMNIST, "dermamnist.npz", MD5[4:])
    server.files["dermamnist.npz?download=1"] = DATA
    downloads.dermamnist(tmp_path)
    assert (tmp_path / "dermamnist.npz").read_bytes() == DATA
    assert "choose 28 or 224" in refused(downloads.dermamnist, tmp_path, size=99)


@pytest.fixture
def mirror(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "NIH", server.url)
    boxes = "Image Index,Finding Label,Bbox [x,y,w,h]\n"
    for n in range(1, 13):
        boxes += f"{n:08d}_000.png,Mass,1,2,3,4\n"
        members = {f"images/{n + k:08d}_000.png": DATA for k in (0, 100, 200, 300)}
        archive = zipped(tmp_path / "made.zip", members)
        server.files[f"images/images_{n:03d}.zip"] = archive.read_bytes()
    server.files["BBox_List_2017.csv"] = boxes.encode()
    server.files["Data_Entry_2017_v2020.csv"] = b"Image Index\n"
    return server


def test_chestxray14_takes_the_boxed_pictures_alone(mirror, tmp_path):
    folder = tmp_path / "nih"
    downloads.chestxray14(folder)
    names = {p.name for p in (folder / "images").iterdir()}
    assert names == {f"{n:08d}_000.png" for n in range(1, 13)}
    assert (folder / "images/00000007_000.png").read_bytes() == DATA


def test_a_mirror_without_ranges_or_with_a_bad_zip(mirror, tmp_path):
    mirror.ranges = False
    line = refused(downloads.chestxray14, tmp_path / "nih")
    assert "nihcc.app.box.com" in line and "answers 200" in line
    mirror.ranges = True
    mirror.files["images/images_001.zip"] = DATA
    assert "is damaged" in refused(downloads.chestxray14, tmp_path / "nih")


def test_a_damaged_zip_is_discarded_so_that_the_next_try_gets_another(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": DATA})
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(CourseError, match="was removed: run again"):
        downloads.unzip(archive, tmp_path / "out", discard=True)
    assert list(tmp_path.iterdir()) == []
