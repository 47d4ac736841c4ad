"""One manifest, read from its store and compared with its digest."""

from __future__ import annotations

from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME, Manifest
from service_kit.artifacts.manifest_digest import check_digest
from service_kit.store.connection import StoreConnection

# A manifest of a thousand towers and classes has less than one of these.
_MAX_BYTES = 64 * 2**20


def read_manifest(connection: StoreConnection, model: str, version: int) -> Manifest:
    """Returns a version's manifest; raises what the file system raises.

    Artifacts that were published before there was a digest are taken without.

    Raises:
        FileNotFoundError: there is none.
        ArtifactCorrupt: it cannot be read, is not the one that was published, or describes
            another artifact.
    """
    fs = connection.fs
    place = f"{model}/{version}/{MANIFEST_NAME}"
    path = f"{connection.root}/{place}"
    if not connection.is_object_store:
        found = fs.info(path)
        # A pipe would hold up its reader for ever.
        if found["type"] != "file" or found["size"] > _MAX_BYTES:
            raise errors.ArtifactCorrupt(
                f"publish it again: {place} is no file of at most {_MAX_BYTES} bytes"
            )
    text: bytes = fs.cat_file(path)
    document = manifest_codec.from_json(text, place)
    if (document.model, document.version) != (model, version):
        raise errors.ArtifactCorrupt(
            f"{place} describes version {document.version} of model {document.model}"
        )
    folder = f"{connection.root}/{model}/{version}"
    below = f"{folder}/{document.folder}" if document.folder else folder
    try:
        expected: bytes = fs.cat_file(f"{below}/{DIGEST_NAME}", start=0, end=1024)
    except (FileNotFoundError, NotADirectoryError):
        return document
    check_digest(text, expected, place)
    return document
