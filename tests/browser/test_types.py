"""relay.d.ts declares the members of relay.js, and TypeScript accepts it."""

import asyncio
from pathlib import Path

import pytest

from tests.browser.conftest import OpenTab
from tests.fleet import Relay, require

HERE = Path(__file__).parent


def test_a_page_in_typescript_is_understood(packages: Path) -> None:
    async def check() -> tuple[int | None, str]:
        command = [packages / "typescript" / "bin" / "tsc", "--project", HERE / "types"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(require("node"), *command, stdout=pipe, stderr=pipe)
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    assert asyncio.run(check()) == (0, "")


@pytest.mark.asyncio(loop_scope="session")
async def test_declarations_and_members_agree(
    open_tab: OpenTab, site: str, fleet: tuple[Relay, Relay], packages: Path
) -> None:
    tab = await open_tab(f"{site}/pages/talk.html", relay=[fleet[0].ws])
    await tab.page.add_script_tag(url=f"{site}/node_modules/typescript/lib/typescript.js")
    declared = await tab.run(
        """(text) => {
            const source = ts.createSourceFile('relay.d.ts', text, ts.ScriptTarget.ES2022, true);
            const members = {};
            for (const one of source.statements) {
                if (ts.isClassDeclaration(one)) {
                    const named = (member) => member.name && !ts.isComputedPropertyName(member.name);
                    const known = one.members.filter(named);
                    members[one.name.text] = known.map((member) => member.name.text);
                }
            }
            return members;
        }""",
        (HERE.parents[1] / "relay" / "pages" / "relay.d.ts").read_text(),
    )
    there = await tab.run("""async () => {
        const module = await import(`${RELAY[0].replace('ws', 'http')}/relay.mjs`);
        const { Relay } = module;
        const relay = new Relay(RELAY[0]);
        const room = relay.join('types');
        const mesh = relay.mesh(room);
        const error = new Relay.RelayError('code', 'text');
        const namesOf = (one) => {
            const names = [...Object.keys(one), ...Object.getOwnPropertyNames(Object.getPrototypeOf(one))];
            return names.filter((name) => !['constructor', 'name', 'toString'].includes(name));
        };
        await room.ready;
        const exported = Object.keys(module).filter((name) => !['Relay', 'default'].includes(name));
        const statics = new Set([...exported, ...Object.keys(Relay)]);
        return { Relay: [...namesOf(relay), ...statics], Room: [...namesOf(room), 'name'], RelayError: namesOf(error) };
    }""")
    assert {name: sorted(names) for name, names in there.items()} == {name: sorted(declared[name]) for name in there}
