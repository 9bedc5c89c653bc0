"""A client with a durable handle whose server moves away below it: ADDRESS PORT; the password is in PASSWORD. It says `open` once it
has the handle, and goes on when it is told that the server has moved."""

import os
import sys
import time
import uuid

from smbprotocol.connection import Connection, Dialects
from smbprotocol.create_contexts import (
    CreateContextName,
    LeaseState,
    SMB2CreateContextRequest,
    SMB2CreateDurableHandleReconnectV2,
    SMB2CreateDurableHandleRequestV2,
    SMB2CreateRequestLeaseV2,
    SMB2CreateResponseLeaseV2,
)
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    LockFlags,
    Open,
    RequestedOplockLevel,
    ShareAccess,
    SMB2LockElement,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])
SHARE = f"\\\\{ADDRESS}\\data"
OBJECT_NAME_NOT_FOUND, SHARING_VIOLATION, LOCK_NOT_GRANTED = 0xC0000034, 0xC0000043, 0xC0000055
CLIENT, HANDLE, LEASE = uuid.uuid4(), uuid.uuid4(), uuid.uuid4().bytes
DATA = os.urandom(200_000)
READ_WRITE = FilePipePrinterAccessMask.GENERIC_READ | FilePipePrinterAccessMask.GENERIC_WRITE
# What was read, and handles: who opens the file and writes to it nowhere is in nobody's way.
KEEPS = LeaseState.SMB2_LEASE_READ_CACHING | LeaseState.SMB2_LEASE_HANDLE_CACHING
EXCLUSIVE = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK | LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY


def connect(client):
    connection = Connection(client, ADDRESS, PORT, require_signing=True)
    connection.connect(Dialects.SMB_3_1_1)
    session = Session(connection, "root", os.environ["PASSWORD"], require_encryption=False, auth_protocol="ntlm")
    session.connect()
    tree = TreeConnect(session, SHARE)
    tree.connect()
    return tree


def context(name, fields):
    request = SMB2CreateContextRequest()
    request["buffer_name"] = name
    request["buffer_data"] = fields
    return request


def lease():
    fields = SMB2CreateRequestLeaseV2()
    fields["lease_key"], fields["lease_state"], fields["epoch"] = LEASE, KEEPS, b"\x03\x00"
    fields["parent_lease_key"] = bytes(16)
    return context(CreateContextName.SMB2_CREATE_REQUEST_LEASE_V2, fields)


def open_file(tree, access, disposition, contexts):
    """The open, and what is said of its lease."""
    file = Open(tree, "kept")
    said = file.create(
        ImpersonationLevel.Impersonation,
        access,
        FileAttributes.FILE_ATTRIBUTE_NORMAL,
        ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE,
        disposition,
        CreateOptions.FILE_NON_DIRECTORY_FILE,
        create_contexts=contexts,
        oplock_level=RequestedOplockLevel.SMB2_OPLOCK_LEVEL_LEASE if contexts else 0,
    )
    leases = [one for one in said or [] if isinstance(one, SMB2CreateResponseLeaseV2)]
    return file, [(one["lease_state"].get_value(), one["epoch"].get_value()) for one in leases]


def lock(file, flags, number=0):
    element = SMB2LockElement()
    element["offset"], element["length"], element["flags"] = 100, 50, flags
    # MS-SMB2 2.2.26: the number is the lower four bits, the index (1 here) those above; the library has them the other way round.
    file.lock([element], lsi=16 + number if number else 0)


def refused(status, attempt):
    try:
        attempt()
    except SMBResponseException as error:
        assert error.status == status, error
        return
    raise AssertionError("nobody refused that")


def reclaim(tree, file, handle):
    fields = SMB2CreateDurableHandleReconnectV2()
    fields["file_id"], fields["create_guid"] = file.file_id, handle
    request = context(CreateContextName.SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2, fields)
    return open_file(tree, READ_WRITE, CreateDisposition.FILE_OPEN, [request, lease()])


def moved(word):
    """Waits until the server has moved."""
    print(word, flush=True)
    assert sys.stdin.readline() == "moved\n"


def has_hung_up(tree):
    """Whether the server ended the connection, so that its client comes again at once."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            tree.session.connection.echo(sid=tree.session.session_id, timeout=1)
        except Exception:
            return True
        time.sleep(0.1)
    return False


def main():
    tree = connect(CLIENT)
    server = tree.session.connection.server_guid
    fields = SMB2CreateDurableHandleRequestV2()
    fields["create_guid"] = HANDLE
    durable = context(CreateContextName.SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, fields)
    file, kept = open_file(tree, READ_WRITE, CreateDisposition.FILE_CREATE, [durable, lease()])
    assert kept == [(KEEPS, 4)], kept
    file.write(DATA[:65536], 0)
    file.write(DATA[65536:131072], 65536)
    lock(file, EXCLUSIVE, number=1)

    moved("open")
    assert has_hung_up(tree)
    other = connect(uuid.uuid4())
    others, _ = open_file(other, READ_WRITE, CreateDisposition.FILE_OPEN, None)
    refused(LOCK_NOT_GRANTED, lambda: lock(others, EXCLUSIVE))
    tree = connect(CLIENT)
    assert tree.session.connection.server_guid == server
    refused(OBJECT_NAME_NOT_FOUND, lambda: reclaim(tree, file, uuid.uuid4()))
    back, kept = reclaim(tree, file, HANDLE)
    assert (back.file_id, kept) == (file.file_id, [(KEEPS, 4)]), kept
    assert back.read(0, 65536) + back.read(65536, 65536) == DATA[:131072]
    # The request is known: the range is not locked a second time, which the lock itself would refuse.
    lock(back, EXCLUSIVE, number=1)
    refused(LOCK_NOT_GRANTED, lambda: lock(others, EXCLUSIVE))
    # It does not share deletion. Asked for with its own lease, nobody is told to give anything up.
    delete = FilePipePrinterAccessMask.DELETE
    refused(SHARING_VIOLATION, lambda: open_file(tree, delete, CreateDisposition.FILE_OPEN, [lease()]))
    back.write(DATA[131072:], 131072)

    # And once more; this time by the way back.
    moved("again")
    tree = connect(CLIENT)
    back, kept = reclaim(tree, file, HANDLE)
    assert (back.file_id, kept) == (file.file_id, [(KEEPS, 4)]), kept
    assert back.read(131072, 65536) == DATA[131072:196608]
    lock(back, LockFlags.SMB2_LOCKFLAG_UNLOCK, number=2)
    other = connect(uuid.uuid4())
    others, _ = open_file(other, READ_WRITE, CreateDisposition.FILE_OPEN, None)
    lock(others, EXCLUSIVE)
    print("unlocked", flush=True)


main()
