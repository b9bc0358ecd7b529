"""What a person should know of code before taking it: calls that reach out of the program, licence texts, copies.

Values in, findings out; nothing is run. This is advice to a reader, no wall: code that wants to hide a call can.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .calls import Reached, reached

Kind = Literal["code", "process", "delete", "network", "data", "native", "access"]

_DOES: dict[Kind, str] = {
    "code": "runs code made at run time",
    "process": "starts or ends processes",
    "delete": "deletes files",
    "network": "uses the network",
    "data": "reads data that can run code",
    "native": "calls native code",
    "access": "changes who may do what",
}

_CALLS: dict[Kind, str] = {
    "code": """
        eval exec compile __import__ runpy.* code.* codeop.* imp.* importlib.import_module
        importlib.util.spec_from_file_location importlib.machinery.* types.CodeType types.FunctionType
        pandas.eval numexpr.evaluate sympy.sympify pip.* timeit.timeit timeit.repeat
    """,
    "process": """
        os.system os.popen os.exec* os.spawn* os.posix_spawn* os.fork os.forkpty os.kill os.killpg os.startfile
        os.abort subprocess.run subprocess.call subprocess.check_* subprocess.Popen subprocess.get* pty.*
        pexpect.* sh.* asyncio.create_subprocess_* asyncio.subprocess.create_subprocess_* commands.* popen2.*
        plumbum.* fabric.* invoke.run signal.pthread_kill psutil.Process.kill psutil.Process.terminate
        multiprocessing.Process
    """,
    "delete": """
        os.remove os.unlink os.rmdir os.removedirs os.truncate os.ftruncate shutil.rmtree shutil.move
        pathlib.Path.unlink pathlib.Path.rmdir send2trash.*
    """,
    "network": """
        socket.socket socket.create_connection socket.create_server socket.get* ssl.* urllib.request.*
        urllib.urlopen urllib2.* http.client.* http.server.* httplib.* socketserver.* smtplib.* ftplib.*
        telnetlib.* poplib.* imaplib.* nntplib.* xmlrpc.* webbrowser.* requests.* httpx.* httpx2.* aiohttp.*
        urllib3.* paramiko.* websocket.* websockets.* boto3.* botocore.* wget.* pycurl.* grpc.*
        asyncio.open_connection asyncio.start_server asyncio.open_unix_connection dns.*
    """,
    "data": """
        pickle.load pickle.loads pickle.Unpickler _pickle.* cPickle.* dill.load dill.loads cloudpickle.load
        cloudpickle.loads joblib.load shelve.* marshal.load marshal.loads yaml.load yaml.load_all
        yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all jsonpickle.decode torch.load
        numpy.load pandas.read_pickle tarfile.TarFile.extractall zipfile.ZipFile.extractall
        shutil.unpack_archive
    """,
    "native": """
        ctypes.* _ctypes.* cffi.* sys.settrace sys.setprofile gc.get_objects
    """,
    "access": """
        os.chmod os.lchmod os.fchmod os.chown os.lchown os.fchown os.setuid os.setgid os.seteuid os.setegid
        os.setgroups os.chroot os.umask shutil.chown pathlib.Path.chmod pathlib.Path.lchmod winreg.* _winreg.*
        keyring.* getpass.getuser os.setxattr
    """,
}
# Parts of the modules above that only describe or raise.
_HARMLESS = re.compile(
    r"\.(?:exceptions?|status_codes|codes|HTTPStatus|structures|cookies|utils|typing|\w*(?:Error|Exception|Warning))\b"
    r"|^socket\.get(?:default)?timeout$|^socket\.gethostname$|^subprocess\.getattr$|^ctypes\.(?:sizeof|c_\w+)$"
    r"|^(?:requests|httpx|httpx2|aiohttp)\.(?:Response|Timeout|ClientTimeout|Limits|URL|Headers|codes)$"
)
_METHODS: dict[str, Kind] = {
    "unlink": "delete",
    "rmdir": "delete",
    "rmtree": "delete",
    "removedirs": "delete",
}
"""Methods that say what they do whatever they belong to."""

# With these words an instruction asks for such a thing; the stem of the call's own name does so too.
_ASKS: dict[Kind, str] = {
    "code": r"""
        eval\w* exec\w* run\w* script compil\w* expression formula dynamic\w* plugin import\w*
        load\w*\s(?:a\s|the\s)?module time\s(?:it|how) 执行 求值 表达式 动态 評価 実行 evalu\w*
    """,
    "process": r"""
        process\w* subproce\w* command\w* shell run\w* execut\w* launch\w* spawn\w* start\w* kill\w* terminat\w*
        terminal bash script program git ping ffmpeg docker parallel\w* worker\w*
        运行 执行 命令 进程 启动 実行 コマンド プロセス
        comando ejecut\w* proces\w* prozess\w* befehl\w* ausführ\w* commande exécut\w* запус\w* команд\w*
        процесс\w*
    """,
    "delete": r"""
        delet\w* remov\w* unlink\w* eras\w* clean\w* clear\w* purg\w* prun\w* wip\w* empt(?:y|ies) trash rm
        mov\w* renam\w* truncat\w* temp\w* tmp discard\w* drop\w* rotat\w* replac\w* old expire\w* 删除 移除 清理 清空
        移动 削除 消去 移動 borr\w* elimin\w* lösch\w* entfern\w* supprim\w* effac\w* удал\w* очист\w* перемест\w*
    """,
    "network": r"""
        https? urls? web\w* 网页 网站 下载 请求 网络 download\w* upload\w* fetch\w* requests? request\w* api rest
        server\w* client\w* sockets? tcp udp port connect\w* network\w* internet online remote e-?mails? smtp
        ftp ssh dns ip host\w* port\w* endpoint\w* scrap\w* crawl\w* browser page site post send\w* ping proxy
        header listen\w* query s3 aws cloud bot weather ダウンロード ソケット リクエスト サーバ\w* 接続
        descarg\w* télécharg\w*
        herunterlad\w* servidor serveur скача\w* загру\w* сервер\w* запрос\w* сайт\w*
    """,
    "data": r"""
        pickl\w* unpickl\w* (?:de|un)?seriali[sz]\w* load\w* restor\w* read\w* yaml yml marshal shelve cache\w*
        checkpoint\w* models? arrays? npy npz persist\w* archive\w* extract\w* unpack\w* unzip\w* zip tar 加载 读取
        反序列化 解压 序列化 読み込\w* carg\w* charg\w* lad\w* загру\w* чита\w* распаков\w*
    """,
    "native": r"""
        ctypes cffi native dll shared\s(?:library|object) c\s(?:library|function) libc winapi kernel ffi
        trace\w* profil\w*
    """,
    "access": r"""
        chmod chown permiss\w* mode owner\w* executable access rights? uid gid user privilege\w* umask registry
        read-?only writ(?:e)?able 权限 所有者 password keyring credential\w* 権限 permis\w* rechte droits прав\w*
    """,
}
# Chinese and Japanese put no space between words.
_LETTER = "[a-z0-9\u00df-\u00ff\u0400-\u04ff]"

_LICENCE = re.compile(
    r"(?i)SPDX-License-Identifier|\ball rights reserved\b|\bcopyright\s+(?:\(c\)|©|\d{4})|©\s*\d{4}|"
    r"\blicensed under (?:the |a |an )?\w+|\bpermission is hereby granted, free of charge\b|"
    r"\bGNU (?:lesser |affero )?general public licen[cs]e\b|\bredistribution and use in source and binary forms\b|"
    r"\bthis file is part of\b"
)
COPIED = 60
"""Tokens in a row that are no coincidence: four to eight lines."""
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reaches out of the program, or a reference to one that is passed on."""

    kind: Kind
    name: str
    asked: bool
    """Whether the instruction asks for such a thing."""

    def __str__(self) -> str:
        return f"{_DOES[self.kind]} ({self.name})"


def risky_calls(before: str, after: str, code: str, wanted: str) -> tuple[Call, ...]:
    """Return the calls that a change adds to a file and that a person should look at.

    `before` and `after` are the file without and with it; where that does not parse, `code` is looked at alone.
    `wanted` is what was asked for: the instruction, and names of the definitions around it.
    """
    new = _new(before, after, code)
    calls = {one.label: kind for one in new if (kind := _kind(one)) is not None}
    whole = (label for label in calls if not any(other.startswith(f"{label}.") for other in calls))
    return tuple(Call(calls[label], label, _asks(calls[label], label, wanted)) for label in whole)


def licence_lines(before: str, code: str, wanted: str) -> tuple[str, ...]:
    """Return the words of licence and copyright texts that are new in a file, and that nobody asked for."""
    if re.search(r"(?i)licen[cs]e|copyright|spdx", wanted):
        return ()
    known = before.lower()
    found = dict.fromkeys(match[0] for match in _LICENCE.finditer(code))
    return tuple(text for text in found if text.lower() not in known)


def copied_tokens(code: str, known: Iterable[str], *, least: int = COPIED) -> int:
    """Return how many tokens in a row of `code` stand word for word in one of the known texts; 0 if below `least`."""
    tokens = _TOKEN.findall(code)
    if len(tokens) < least:
        return 0
    # Whatever run is that long holds one of these. Few texts do, and a search costs less than a look at all runs.
    half = least // 2
    pieces = [" ".join(tokens[at : at + half]) for at in range(0, len(tokens) - half + 1, half)]
    near = (words for text in known if any(piece in (words := _words(text)) for piece in pieces))
    return max((_common_run(tokens, words.split(" "), least) for words in near), default=0)


@lru_cache(maxsize=1024)
def _words(text: str) -> str:
    return " ".join(_TOKEN.findall(text))


def _common_run(tokens: Sequence[str], others: Sequence[str], least: int) -> int:
    grams = {tuple(others[at : at + least]) for at in range(len(others) - least + 1)}
    longest = run = 0
    for at in range(len(tokens) - least + 1):
        run = run + 1 if tuple(tokens[at : at + least]) in grams else 0
        longest = max(longest, run and run + least - 1)
    return longest


def _new(before: str, after: str, code: str) -> list[Reached]:
    tree = _parsed(after)
    if tree is None:
        imports = "\n".join(line for line in before.splitlines() if re.match(r"(?:from|import)\s", line))
        tree = _parsed(f"{imports}\n{code}") or _parsed(f"{imports}\nasync def _():\n{_indented(code)}")
        return list(reached(tree)) if tree else []
    there = _parsed(before)
    known = Counter(reached(there)) if there else Counter[Reached]()
    # Outside the change nothing is new, but it may give a name there another meaning.
    return list((Counter(reached(tree)) - known).elements())


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.split("\n"))


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _patterns() -> Iterator[tuple[Kind, re.Pattern[str]]]:
    for kind, names in _CALLS.items():
        yield kind, re.compile("|".join(re.escape(name).replace(r"\*", r"[\w.]*") for name in names.split()))


_BY_KIND = tuple(_patterns())


def _kind(one: Reached) -> Kind | None:
    if not one.name.startswith("?."):
        if _HARMLESS.search(one.name) or one.safe:
            return None
        return next((kind for kind, pattern in _BY_KIND if pattern.fullmatch(one.name)), None)
    return _METHODS.get(one.name[2:])


def _asks(kind: Kind, label: str, wanted: str) -> bool:
    """Tell whether the words asked for name such a thing, or this very call."""
    text = _spaced(wanted)
    if re.search(rf"(?<!{_LETTER})(?:{'|'.join(_ASKS[kind].split())})(?!{_LETTER})", text):
        return True
    words = {word for word in re.split(r"[\W_]+", _spaced(label)) if len(word) > 2}
    return any(re.search(rf"(?<!{_LETTER}){re.escape(word)}", text) for word in words)


def _spaced(text: str) -> str:
    """Set the words of names apart: `runCommand` and `run_command` name a command."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").lower()
