"""Impacket as a client, in all its dialects: ADDRESS PORT; the password is in PASSWORD. It encrypts wherever it can."""

import io
import os
import sys

from impacket import smb3structs
from impacket.smbconnection import SMBConnection, SessionError

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])
USER, PASSWORD = "root", os.environ["PASSWORD"]
SHARE = "Data"
SIGNED = [smb3structs.SMB2_DIALECT_002, smb3structs.SMB2_DIALECT_21]
ENCRYPTED = [smb3structs.SMB2_DIALECT_30, smb3structs.SMB2_DIALECT_311]
FILES = 50
LARGE = os.urandom(2 << 20) + b"and no whole block"


def connect(dialect):
    return SMBConnection(ADDRESS, ADDRESS, sess_port=PORT, preferredDialect=dialect)


def refused(code, attempt):
    """Fails unless the attempt ends with this status."""
    try:
        attempt()
    except SessionError as error:
        assert code in str(error), error
    else:
        raise AssertionError(f"no {code}")


def names(client, pattern):
    return sorted(file.get_longname() for file in client.listPath(SHARE, pattern))


def files(client):
    """Made, listed, renamed and removed."""
    client.createDirectory(SHARE, "dir")
    refused("OBJECT_NAME_COLLISION", lambda: client.createDirectory(SHARE, "DIR"))
    for number in range(FILES):
        client.putFile(SHARE, f"dir\\file {number}", io.BytesIO(str(number).encode()).read)
    assert names(client, "dir\\*") == sorted([".", ".."] + [f"file {number}" for number in range(FILES)])
    assert names(client, "dir\\FILE 4*") == ["file 4"] + [f"file {number}" for number in range(40, 50)]
    client.rename(SHARE, "dir\\file 7", "dir\\Ünïcödé 文字")
    back = io.BytesIO()
    client.getFile(SHARE, "dir\\ünïcödé 文字", back.write)
    assert back.getvalue() == b"7"
    refused("OBJECT_NAME_NOT_FOUND", lambda: client.getFile(SHARE, "dir\\file 7", back.write))
    refused("DIRECTORY_NOT_EMPTY", lambda: client.deleteDirectory(SHARE, "dir"))
    for name in names(client, "dir\\*"):
        if name not in (".", ".."):
            client.deleteFile(SHARE, f"dir\\{name}")
    client.deleteDirectory(SHARE, "dir")
    assert "dir" not in names(client, "*")


def large(client):
    """A file of many requests there and back, and another one in the middle of it."""
    client.putFile(SHARE, "large", io.BytesIO(LARGE).read)
    assert [file.get_filesize() for file in client.listPath(SHARE, "large")] == [len(LARGE)]
    back = io.BytesIO()
    client.getFile(SHARE, "LARGE", back.write)
    assert back.getvalue() == LARGE, "a file came back with other content"
    tree = client.connectTree(SHARE)
    file = client.openFile(tree, "large", shareMode=0)
    refused("SHARING_VIOLATION", lambda: client.openFile(tree, "large"))
    client.writeFile(tree, file, b"elsewhere", offset=1_000_000)
    around = LARGE[999_999:1_000_000] + b"elsewhere" + LARGE[1_000_009:1_000_010]
    assert client.readFile(tree, file, 999_999, 11) == around
    client.closeFile(tree, file)
    client.disconnectTree(tree)
    client.deleteFile(SHARE, "large")


for dialect in SIGNED + ENCRYPTED:
    refused("LOGON_FAILURE", lambda: connect(dialect).login(USER, "wrong"))
    client = connect(dialect)
    client.login(USER, PASSWORD)
    assert client.getDialect() == dialect and client.isSigningRequired()
    shares = {share["shi1_netname"][:-1]: share["shi1_remark"][:-1] for share in client.listShares()}
    assert shares[SHARE] == "all there is" and "IPC$" in shares, shares
    files(client)
    large(client)
    client.logoff()
    if dialect in SIGNED:
        refused("USER_SESSION_DELETED", lambda: client.listPath(SHARE, "*"))
print("4 dialects")
