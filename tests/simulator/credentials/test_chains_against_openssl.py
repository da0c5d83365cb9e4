"""Our verdict on a chain against that of ``openssl verify -partial_chain``, over a family of chains.

The trusted certificate is the anchor, the others are what the device shows. Both sides must agree about every chain,
except where we are stricter on purpose; those differences are named one by one.
"""

import itertools
import random
import shutil
import subprocess

import pytest
from x509_family import CLIENT, DAY, NOW, SERVER, key_of, make, make_root

from dps_simulator.credentials.chains import build_path, judge_path

OPENSSL = shutil.which("openssl")

#: What can be wrong with one certificate of a chain, by a name for it.
AUTHORITY_KINDS = {
    "good": {"ca": True},
    "good with key usage": {"ca": True, "usage": True},
    "expired": {"ca": True, "end": -DAY},
    "not yet valid": {"ca": True, "start": DAY},
    "no authority": {"ca": False},
    "without basic constraints": {},
    "must not sign": {"ca": True, "usage": False},
    "signed with another key": {"ca": True, "signer": "thief"},
    "allows none below": {"ca": True, "path_length": 0},
    "RSA": {"ca": True, "kind": "rsa"},
    "for clients": {"ca": True, "extended": [CLIENT]},
    "for servers": {"ca": True, "extended": [SERVER]},
}
DEVICE_KINDS = {
    "good": {},
    "for clients": {"ca": False, "extended": [CLIENT]},
    "for both": {"extended": [SERVER, CLIENT]},
    "for servers": {"extended": [SERVER]},
    "expired": {"end": -DAY},
    "not yet valid": {"start": DAY},
    "signed with another key": {"signer": "thief"},
    "RSA": {"kind": "rsa"},
}
#: How the device shows the certificates between its own and the anchor.
ORDERS = {
    "in order": lambda between: between,
    "in reverse": lambda between: between[::-1],
    "without the first": lambda between: between[1:],
    "without the last": lambda between: between[:-1],
    "with a stranger": lambda between: [STRANGER, *between],
    "twice": lambda between: between * 2,
}
STRANGER = make_root("Stranger")


def issued(name, issuer, how):
    how = {**how, "signer": key_of(how["signer"])} if "signer" in how else how
    return make(name, issuer, **how)


def chain(kinds, device):
    """Certificates from the anchor down to the device."""
    made = []
    for place, kind in enumerate(kinds):
        made.append(issued(f"Authority {place}", made[-1] if made else None, AUTHORITY_KINDS[kind]))
    return [*made, issued("pump-101", made[-1], DEVICE_KINDS[device])]


def family():
    """Some hundred chains: every single mistake at every place, and random combinations."""
    for depth in (1, 2, 3):
        for place, kind in itertools.product(range(depth), AUTHORITY_KINDS):
            kinds = ["good"] * depth
            kinds[place] = kind
            yield kinds, "good", 0, "in order"
        for device in DEVICE_KINDS:
            yield ["good"] * depth, device, 0, "in order"
        for order in ORDERS:
            yield ["good"] * depth, "good", 0, order
        for anchor in range(1, depth):
            for kind in AUTHORITY_KINDS:
                kinds = ["good"] * depth
                kinds[anchor] = kind
                yield kinds, "good", anchor, "in order"
    chance = random.Random(7)  # noqa: S311  (only chooses test cases)
    for _ in range(120):
        depth = chance.randint(1, 4)
        kinds = [chance.choice([*["good"] * 12, *AUTHORITY_KINDS]) for _ in range(depth)]
        device = chance.choice([*["good"] * 5, *DEVICE_KINDS])
        yield kinds, device, chance.randrange(depth), chance.choice(["in order"] * 3 + list(ORDERS))


def openssl_accepts(folder, presented, anchor):
    (folder / "anchor.pem").write_text(anchor.pem)
    (folder / "device.pem").write_text(presented[0].pem)
    command = [OPENSSL, "verify", "-partial_chain", "-purpose", "sslclient", "-attime", str(int(NOW.timestamp()))]
    # nothing but this anchor is trusted, whatever this machine trusts
    command += ["-no-CAfile", "-no-CApath", "-no-CAstore", "-trusted", str(folder / "anchor.pem")]
    if len(presented) > 1:
        (folder / "others.pem").write_text("".join(each.pem for each in presented[1:]))
        command += ["-untrusted", str(folder / "others.pem")]
    run = subprocess.run([*command, str(folder / "device.pem")], capture_output=True, text=True, check=False)
    assert run.returncode in (0, 2), run.stderr
    return run.returncode == 0, run.stdout + run.stderr


def we_accept(presented, anchor):
    path = build_path([each.parsed for each in presented], [anchor.parsed], NOW)
    if anchor.parsed not in path.certificates:
        return False, path.problem or path.missing_issuer or "does not reach the anchor"
    upwards = path.certificates[: path.certificates.index(anchor.parsed) + 1]
    problem = judge_path(upwards, NOW)
    return problem is None, problem


#: What we refuse and OpenSSL may not: for OpenSSL a partial chain ends with whatever is trusted, whether it is an
#: authority or not; we want an authority at its end, too.
NO_AUTHORITIES = {"no authority", "without basic constraints"}


@pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
def test_both_agree(tmp_path):
    compared, agreed_on_good, disagreements = 0, 0, []
    for kinds, device, anchor, order in family():
        made = chain(kinds, device)
        between = made[anchor + 1 : -1][::-1]
        presented = [made[-1], *ORDERS[order](between)]
        ours, why = we_accept(presented, made[anchor])
        theirs, said = openssl_accepts(tmp_path, presented, made[anchor])
        compared += 1
        agreed_on_good += ours and theirs
        if ours != theirs and not (theirs and kinds[anchor] in NO_AUTHORITIES):
            disagreements.append((kinds, device, anchor, order, f"we: {why}", f"openssl: {said}"))
    assert disagreements == []
    assert compared > 250
    # a test in which everything is refused would prove nothing
    assert agreed_on_good > 60


def variants():
    """A root, and what another one may show for itself: made anew, or signed by the first."""
    first, second = make_root("First"), make_root("Second")
    return first, {
        "own": second,
        "expired": make_root("Second", end=-DAY),
        "another key": make_root("Second", key_name="Second, anew"),
        "of another root": make("Second", first, ca=True),
        "of another root, expired": make("Second", first, ca=True, end=-DAY),
    }


@pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
def test_both_agree_about_authorities_with_several_certificates(tmp_path):
    first, second = variants()
    line = make("Line", second["own"], ca=True)
    old_line = make("Line", second["own"], ca=True, end=-DAY)
    device = make("pump-101", line)
    lines = ([line], [old_line, line], [line, old_line], [old_line])
    every = [first, *second.values()]
    cases = list(itertools.product(every, itertools.permutations(every, 2), lines))
    accepted, disagreements = 0, []
    for anchor, shown, between in cases[::3]:
        presented = [device, *between, *shown]
        ours, why = we_accept(presented, anchor)
        theirs, said = openssl_accepts(tmp_path, presented, anchor)
        accepted += ours
        # OpenSSL follows the first certificate with the right name, whatever its key, and never turns back when that
        # is a root which nobody trusts; the order does not matter to us
        no_way_back = "self-signed certificate in certificate chain" in said and shown[0].parsed.is_self_issued
        if ours != theirs and not (ours and no_way_back):
            names = [name for each in shown for name, one in second.items() if one is each]
            disagreements.append((anchor is first, names, len(between), f"we: {why}", f"openssl: {said}"))
    assert disagreements == []
    assert 50 < accepted < 200
