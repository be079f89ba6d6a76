"""What stands in the books, table by table, as digests: enough to say that nothing changed, and where something did."""

from __future__ import annotations

from tests.store.kit import Gateway


async def contents(gateway: Gateway, *without: str) -> dict[str, str]:
    """A digest of the rows of each table, but for the tables named."""
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: await connection.fetchval(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t")
            or ""
            for name in sorted(row["tablename"] for row in rows)
            if name not in without
        }
