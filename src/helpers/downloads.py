"""Where the data sets come from, one function a set (used by 01 and 07).

`python -m helpers.datasets download NAME` calls the function of that name.
"""

import io
import zipfile
from pathlib import Path

import requests
from tqdm import tqdm

from .files import atomic
from .settings import CourseError
from .transfer import DAMAGE, TIMEOUT, fetch, net, room, unzip

DATAVERSE = "https://dataverse.harvard.edu"
HAM_DOI = "doi:10.7910/DVN/DBW86T"
HAM_ZIPS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
HAM_ZIPS += ("HAM10000_segmentations_lesion_tschandl",)
ISIC = "https://isic-challenge-data.s3.amazonaws.com/2019/ISIC_2019_Training_"
ISIC_UNPACKED = 10_000_000_000  # bytes, roughly: the zip is 9.8 GB of JPEGs
ZENODO = "https://zenodo.org/records/10519652/files/"
DERMAMNIST = {  # MD5 as MedMNIST publishes it
    "dermamnist.npz": "0744692d530f8e62ec473284d019b0c7",
    "dermamnist_224.npz": "8974907d8e169bef5f5b96bc506ae45d",
}
NIH = "https://huggingface.co/datasets/alkzar90/NIH-Chest-X-ray-dataset/resolve/main/data/"


def _get_zip(
    url: str, folder: Path, known_hash: str | None, size: int | None, unpacked: int
) -> None:
    """A zip, unpacked into `folder` and removed; nothing if the folder is there."""
    if folder.is_dir():
        return
    archive = folder.with_name(folder.name + ".zip")
    unzip(fetch(url, archive, known_hash, size, unpacked), folder, discard=True)
    archive.unlink()


def ham10000(folder: str | Path) -> None:
    """HAM10000 from Harvard's Dataverse: two zips of pictures, the table, the masks.

    Sizes and checksums are those of the record. Of a table, Dataverse serves its own
    conversion, yet its checksum is the original's: so we ask for the original.
    """
    folder = Path(folder)
    url = f"{DATAVERSE}/api/datasets/:persistentId/?persistentId={HAM_DOI}"
    hand = f"put the files of https://doi.org/{HAM_DOI[4:]} into {folder}"
    with net(url, hand):
        answer = requests.get(url, timeout=TIMEOUT)
        answer.raise_for_status()
        try:
            files = answer.json()["data"]["latestVersion"]["files"]
            files = {Path(f["dataFile"]["filename"]).stem: f["dataFile"] for f in files}
            wanted = {stem: files[stem] for stem in ("HAM10000_metadata", *HAM_ZIPS)}
        except (ValueError, LookupError, TypeError) as error:
            raise CourseError(
                f"{url}: not the record we know ({error}); {hand}"
            ) from None
    for stem, file in wanted.items():
        original = "originalFileFormat" in file
        size = file.get("originalFileSize") if original else file["filesize"]
        url = f"{DATAVERSE}/api/access/datafile/{file['id']}"
        known_hash = f"md5:{file['md5']}"
        if stem in HAM_ZIPS:
            _get_zip(url, folder / stem, known_hash, size, unpacked=size)
        else:
            url += "?format=original" * original
            fetch(url, folder / f"{stem}.csv", known_hash, size)


def isic2019(folder: str | Path) -> None:
    """ISIC 2019's training pictures (9.8 GB) and both tables, from its own store.

    Nobody publishes checksums of them: the size that the server announces and the
    checksums inside the zip are verified, no more.
    """
    folder = Path(folder)
    for table in ("GroundTruth", "Metadata"):
        fetch(f"{ISIC}{table}.csv", folder / f"ISIC_2019_Training_{table}.csv", None)
    pictures = folder / "ISIC_2019_Training_Input"
    _get_zip(f"{ISIC}Input.zip", pictures, None, None, ISIC_UNPACKED)


def dermamnist(folder: str | Path, size: int = 28) -> None:
    """MedMNIST's own file from Zenodo, at 28 or 224 pixels, by its published MD5."""
    name = "dermamnist.npz" if size == 28 else f"dermamnist_{size}.npz"
    if name not in DERMAMNIST:
        raise CourseError(f"no DermaMNIST at {size} pixels here; choose 28 or 224")
    url = f"{ZENODO}{name}?download=1"
    fetch(url, Path(folder) / name, f"md5:{DERMAMNIST[name]}")


def chestxray14(folder: str | Path) -> None:
    """The 880 X-rays that have boxes, the boxes and NIH's table, from a public mirror.

    NIH hands out all 45 GB or nothing. The mirror keeps them in twelve zips, of which
    we read no more than the pictures we want; the zip's own checksums are verified.
    """
    folder = Path(folder)
    for table in ("BBox_List_2017.csv", "Data_Entry_2017_v2020.csv"):
        fetch(NIH + table, folder / table, None)
    with open(folder / "BBox_List_2017.csv", encoding="utf-8-sig") as lines:
        wanted = {line.split(",")[0] for line in lines if ".png," in line}
    page = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
    for number in range(1, 13):
        url = f"{NIH}images/images_{number:03d}.zip"
        with net(url, f"put the pictures of {page} into {folder}"):
            _pick(url, folder / "images", wanted)


def _pick(url: str, folder: Path, wanted: set[str]) -> None:
    """Of a zip on a server, the files of these names that are not in `folder` yet."""
    try:
        with zipfile.ZipFile(io.BufferedReader(_Remote(url), 1 << 19)) as archive:
            members = {Path(m.filename).name: m for m in archive.infolist()}
            new = [
                n for n in sorted(wanted & set(members)) if not (folder / n).exists()
            ]
            room(folder, sum(members[name].file_size for name in new))
            for name in tqdm(new, desc=url.rpartition("/")[2], disable=None):
                with atomic(folder / name) as part:
                    part.write_bytes(archive.read(members[name]))
    except DAMAGE as error:
        raise CourseError(f"{url}: is damaged ({error}); try again later") from None


class _Remote(io.RawIOBase):
    """A file on a server that serves ranges, read piece by piece."""

    def __init__(self, url: str):
        self.url, self.at, self.session = url, 0, requests.Session()
        self.size = int(self._get("0-0").headers["Content-Range"].rpartition("/")[2])

    def _get(self, span: str) -> requests.Response:
        headers = {"Range": f"bytes={span}", "Accept-Encoding": "identity"}
        answer = self.session.get(self.url, headers=headers, timeout=TIMEOUT)
        if answer.status_code != 206:
            raise requests.HTTPError(response=answer)
        return answer

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def readinto(self, buffer) -> int:
        end = min(self.at + len(buffer), self.size)
        if end <= self.at:
            return 0
        piece = self._get(f"{self.at}-{end - 1}").content
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)
