"""The library smbprotocol as a client, in all its dialects: ADDRESS PORT signed|encrypted; the password is in PASSWORD."""

import hashlib
import os
import sys
import uuid

import smbclient
from smbprotocol.connection import Connection, Dialects
from smbprotocol.exceptions import LogonFailure, SMBResponseException
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    LockFlags,
    Open,
    ShareAccess,
    SMB2LockElement,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

ADDRESS, PORT, PROTECTION = sys.argv[1], int(sys.argv[2]), sys.argv[3]
USER, PASSWORD = "root", os.environ["PASSWORD"]
ENCRYPTED = PROTECTION == "encrypted"
SHARE = f"\\\\{ADDRESS}\\data"
FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED = 0xC0000054, 0xC0000055
SMB3 = [Dialects.SMB_3_0_0, Dialects.SMB_3_0_2, Dialects.SMB_3_1_1]
DIALECTS = SMB3 if ENCRYPTED else [Dialects.SMB_2_0_2, Dialects.SMB_2_1_0] + SMB3
LARGE = os.urandom(8 << 20) + b"and no whole block"


def connect(dialect):
    connection = Connection(uuid.uuid4(), ADDRESS, PORT, require_signing=True)
    connection.connect(dialect)
    assert connection.dialect == dialect
    return connection


def log_in(connection, password):
    session = Session(connection, USER, password, require_encryption=ENCRYPTED, auth_protocol="ntlm")
    session.connect()
    return session


def refused(kind, attempt):
    try:
        attempt()
    except kind as error:
        return error
    raise AssertionError(f"no {kind}")



def files(connections):
    """Made, listed, renamed and removed, by the part of the library that looks like the module os."""
    here, dir = {"port": PORT, "connection_cache": connections}, f"{SHARE}\\dir"
    smbclient.makedirs(f"{dir}\\sub\\deeper", **here)
    for number in range(100):
        with smbclient.open_file(f"{dir}\\sub\\file {number}", mode="w", **here) as file:
            file.write(str(number) * number)
    smbclient.rename(f"{dir}\\sub\\file 7", f"{dir}\\Ünïcödé 文字", **here)
    with smbclient.open_file(f"{dir}\\ünïcödé 文字", **here) as file:
        assert file.read() == "7777777"
    smbclient.replace(f"{dir}\\ünïcödé 文字", f"{dir}\\SUB\\file 8", **here)
    smbclient.link(f"{dir}\\sub\\file 8", f"{dir}\\linked", **here)
    assert smbclient.stat(f"{dir}\\linked", **here).st_nlink == 2
    smbclient.truncate(f"{dir}\\linked", 3, **here)
    smbclient.utime(f"{dir}\\linked", times=(1_000_000_000, 1_100_000_000), **here)
    found = smbclient.stat(f"{dir}\\sub\\file 8", **here)
    assert (found.st_size, found.st_mtime, found.st_atime) == (3, 1_100_000_000, 1_000_000_000), found
    sizes = {entry.name: entry.smb_info.end_of_file for entry in smbclient.scandir(f"{dir}\\sub", **here) if entry.is_file()}
    expected = {f"file {number}": len(str(number)) * number for number in range(100) if number != 7}
    assert sizes == {**expected, "file 8": 3}, sizes
    assert refused(OSError, lambda: smbclient.rmdir(dir, **here)).errno is not None
    for top, dirs, names in smbclient.walk(dir, topdown=False, **here):
        [smbclient.remove(f"{top}\\{name}", **here) for name in names]
        [smbclient.rmdir(f"{top}\\{name}", **here) for name in dirs]
    smbclient.rmdir(dir, **here)
    assert "dir" not in smbclient.listdir(SHARE, **here)
    assert smbclient.stat_volume(SHARE, **here).total_size > 0


def large(connections):
    """A file of many requests there and back."""
    here = {"port": PORT, "connection_cache": connections}
    with smbclient.open_file(f"{SHARE}\\large", mode="wb", **here) as file:
        file.write(LARGE)
    with smbclient.open_file(f"{SHARE}\\LARGE", mode="rb", **here) as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(LARGE).digest()
        file.seek(-18, os.SEEK_END)
        assert file.read() == b"and no whole block"


def open_large(session):
    tree = TreeConnect(session, SHARE)
    tree.connect()
    file = Open(tree, "large")
    file.create(
        ImpersonationLevel.Impersonation,
        FilePipePrinterAccessMask.GENERIC_READ | FilePipePrinterAccessMask.GENERIC_WRITE,
        FileAttributes.FILE_ATTRIBUTE_NORMAL,
        ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE,
        CreateDisposition.FILE_OPEN,
        CreateOptions.FILE_NON_DIRECTORY_FILE,
    )
    return file


def element(offset, length, flags):
    lock = SMB2LockElement()
    lock["offset"], lock["length"], lock["flags"] = offset, length, flags
    return lock


def locks(one, other):
    """Two clients and the ranges of one file."""
    def taken(client, *lock):
        assert refused(SMBResponseException, lambda: client.lock([element(*lock)])).status == LOCK_NOT_GRANTED

    now = LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    one, other = open_large(one), open_large(other)
    one.lock([element(0, 100, LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK)])
    taken(other, 50, 100, LockFlags.SMB2_LOCKFLAG_SHARED_LOCK | now)
    other.lock([element(100, 100, LockFlags.SMB2_LOCKFLAG_SHARED_LOCK | now)])
    assert refused(SMBResponseException, lambda: other.read(0, 10)).status == FILE_LOCK_CONFLICT
    assert other.read(100, 10) == LARGE[100:110]
    # Waited for: granted once it is free.
    request, finish = other.lock([element(0, 100, LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK)], send=False)
    tree = other.tree_connect
    waiting = other.connection.send(request, tree.session.session_id, tree.tree_connect_id)
    one.lock([element(0, 100, LockFlags.SMB2_LOCKFLAG_UNLOCK)])
    finish(waiting)
    taken(one, 0, 1, LockFlags.SMB2_LOCKFLAG_SHARED_LOCK | now)
    other.close()
    one.lock([element(0, 100, LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK | now)])
    one.close()


for dialect in DIALECTS:
    refused(LogonFailure, lambda: log_in(connect(dialect), "wrong"))
    connections = [connect(dialect) for _ in range(2)]
    sessions = [log_in(connection, PASSWORD) for connection in connections]
    assert all(session.encrypt_data == ENCRYPTED and session.signing_required != ENCRYPTED for session in sessions)
    cache = {f"{ADDRESS}:{PORT}": connections[0]}
    files(cache)
    large(cache)
    locks(*sessions)
    smbclient.remove(f"{SHARE}\\large", port=PORT, connection_cache=cache)
    [connection.disconnect() for connection in connections]
print(len(DIALECTS), "dialects")
