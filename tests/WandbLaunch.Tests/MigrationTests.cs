using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Tests;

/// <summary>Databases of earlier servers, of later ones, and of servers that ended while they changed one.</summary>
// MD5 is W&B's checksum of a file, not a protection.
#pragma warning disable CA5351
[Collection(SessionCollection.Name)]
public sealed class MigrationTests
{
    // The tables as the server made them before databases had a version, as it was then: not to be changed with the server.
    private const string FormerTables = """
        PRAGMA journal_mode = WAL;
        CREATE TABLE IF NOT EXISTS projects (id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT, created_at TEXT NOT NULL, UNIQUE (entity, name));
        CREATE TABLE IF NOT EXISTS runs (
          id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL, display_name TEXT, description TEXT, notes TEXT, tags TEXT NOT NULL DEFAULT '[]',
          state TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0, config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}', grp TEXT, job_type TEXT, sweep TEXT,
          commit_hash TEXT, host TEXT, program TEXT, repo TEXT, user TEXT, exit_code INTEGER, created_at TEXT NOT NULL, heartbeat_at TEXT, updated_at TEXT, UNIQUE (project, name));
        CREATE INDEX IF NOT EXISTS runs_by_created ON runs (project, created_at, id);
        CREATE TABLE IF NOT EXISTS files (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, md5 TEXT, size INTEGER NOT NULL, updated_at TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (run, name));
        CREATE TABLE IF NOT EXISTS history (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS console (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
        """;

    private const string FormerQueueTables = """
        CREATE TABLE IF NOT EXISTS queues (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, created_by TEXT NOT NULL, access TEXT NOT NULL, created_at TEXT NOT NULL,
          mode TEXT NOT NULL DEFAULT 'DISABLED', resource TEXT, resource_config TEXT, template_variables TEXT, external_links TEXT, deleted INTEGER NOT NULL DEFAULT 0);
        CREATE UNIQUE INDEX IF NOT EXISTS queues_by_name ON queues (entity, project, name) WHERE deleted = 0;
        CREATE TABLE IF NOT EXISTS items (
          id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL REFERENCES queues, spec TEXT NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING', created_at TEXT NOT NULL,
          lease_until INTEGER, agent INTEGER, run_name TEXT, claimed_at TEXT, finished_at TEXT, exit_code INTEGER, error TEXT, warnings TEXT);
        CREATE INDEX IF NOT EXISTS items_waiting ON items (queue, priority, id) WHERE state = 'PENDING';
        CREATE INDEX IF NOT EXISTS items_leased ON items (lease_until) WHERE state = 'LEASED';
        CREATE INDEX IF NOT EXISTS items_by_queue ON items (queue, id);
        CREATE TABLE IF NOT EXISTS agents (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, queues TEXT NOT NULL, hostname TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, stop_polling INTEGER NOT NULL DEFAULT 0,
          heartbeat_at TEXT NOT NULL, created_at TEXT NOT NULL, config TEXT, version TEXT);
        CREATE TABLE IF NOT EXISTS resource_configs (id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, resource TEXT NOT NULL, config TEXT NOT NULL, template_variables TEXT NOT NULL DEFAULT '{}');
        """;

    private const string FormerPushes =
        "CREATE TABLE IF NOT EXISTS pushes (request TEXT PRIMARY KEY, answer BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;";

    private const string FormerArtifactTables = """
        CREATE TABLE IF NOT EXISTS artifacts (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, version INTEGER, digest TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING',
          description TEXT, metadata TEXT, created_at TEXT NOT NULL, run TEXT, client_id TEXT, aliases TEXT NOT NULL DEFAULT '[]', manifest BLOB);
        CREATE INDEX IF NOT EXISTS artifacts_by_name ON artifacts (entity, project, name, version);
        CREATE TABLE IF NOT EXISTS artifact_aliases (entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifacts, PRIMARY KEY (entity, project, name, alias));
        CREATE TABLE IF NOT EXISTS blobs (entity TEXT NOT NULL, md5 TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (entity, md5));
        """;

    private const string FormerIdentity =
        "CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL); INSERT INTO identity VALUES ('0123456789abcdef0123456789abcdef');";

    private const string RunRows = """
        INSERT INTO projects VALUES (7, 'local', 'demo', 'of before', '2026-01-01T00:00:00.000');
        INSERT INTO runs (id, project, name, display_name, notes, tags, state, config, summary, user, created_at, heartbeat_at, updated_at)
          VALUES (3, 7, 'run00001', 'brave-wolf-1', 'älter', '["a","b"]', 'finished', '{"lr":{"value":0.1}}', '{"loss":0.25}', 'me', '2026-01-01T00:00:01.000', '2026-01-01T00:00:02.000', '2026-01-01T00:00:02.000');
        INSERT INTO history VALUES (3, 0, '{"_step":0,"loss":1.5}'), (3, 1, '{"_step":1,"loss":0.25}');
        INSERT INTO console VALUES (3, 0, 'hello' || char(10));
        """;

    private const string QueueRows = """
        INSERT INTO queues (id, entity, project, name, created_by, access, created_at) VALUES (5, 'local', 'demo', 'q', 'me', 'PROJECT', '2026-01-01T00:00:00.000');
        INSERT INTO agents (id, entity, project, queues, hostname, name, status, heartbeat_at, created_at) VALUES (2, 'local', 'demo', '["5"]', 'box', 'agent-of-before', 'POLLING', '2026-01-01T00:00:00.000', '2026-01-01T00:00:00.000');
        INSERT INTO items (id, queue, spec, priority, state, created_at, lease_until, agent, run_name, claimed_at, finished_at, exit_code) VALUES
          (11, 5, '{"uri":"https://example.org/a","n":11}', 2, 'PENDING', '2026-01-01T00:00:00.000', NULL, NULL, NULL, NULL, NULL, NULL),
          (12, 5, '{"uri":"https://example.org/a","n":12}', 2, 'LEASED', '2026-01-01T00:00:00.000', 5000, 2, NULL, NULL, NULL, NULL),
          (13, 5, '{"uri":"https://example.org/a","n":13}', 1, 'CLAIMED', '2026-01-01T00:00:00.000', NULL, 2, 'run00001', '2026-01-01T00:00:01.000', NULL, NULL),
          (14, 5, '{"uri":"https://example.org/a","n":14}', 0, 'FINISHED', '2026-01-01T00:00:00.000', NULL, 2, 'run00001', '2026-01-01T00:00:01.000', '2026-01-01T00:00:02.000', 0);
        """;

    private static readonly byte[] Small = Encoding.UTF8.GetBytes("lr: 0.1\n");
    private static readonly byte[] Data = Bytes(400_000);
    private static readonly string DataMd5 = Convert.ToHexString(MD5.HashData(Data)).ToLowerInvariant();

    private static byte[] Bytes(int length)
    {
        var bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    private static SqliteConnection Open(string path, bool write = false)
    {
        var connection = new SqliteConnection(
            $"Data Source={path};Pooling=false;Mode={(write ? "ReadWriteCreate" : "ReadOnly")}"
        );
        connection.Open();
        return connection;
    }

    private static void Execute(SqliteConnection connection, string text, params (string, byte[])[] values)
    {
        using var command = connection.CreateCommand();
        command.CommandText = text;
        foreach (var (name, value) in values)
        {
            command.Parameters.AddWithValue(name, value);
        }

        command.ExecuteNonQuery();
    }

    private static T Scalar<T>(string path, string text)
    {
        using var connection = Open(path);
        using var command = connection.CreateCommand();
        command.CommandText = text;
        return (T)command.ExecuteScalar()!;
    }

    private static long Version(string path) => Scalar<long>(path, "PRAGMA user_version");

    private static string[] Copies(string path) =>
        [
            .. Directory
                .GetFiles(Path.GetDirectoryName(path)!, Path.GetFileName(path) + ".before*")
                .Select(f => Path.GetFileName(f)[Path.GetFileName(path).Length..])
                .Order(StringComparer.Ordinal),
        ];

    private static string Copy(string path) => path + $".before-v{DatabaseSchema.Latest}";

    // A database as the server before the versions left it: closed well, everything in its one file.
    private static void Former(string path, int more = 0)
    {
        using var connection = Open(path, true);
        Execute(connection, FormerTables + FormerQueueTables + FormerPushes + FormerArtifactTables + FormerIdentity);
        Execute(connection, RunRows + QueueRows);
        Execute(
            connection,
            """
            INSERT INTO files VALUES (3, 'config.yaml', $m, 8, '2026-01-01T00:00:00.000', $c), (3, 'data/large.bin', $n, 400000, '2026-01-01T00:00:00.000', $d);
            INSERT INTO artifacts VALUES (9, 'local', 'demo', 'dataset', 'numbers', 0, 'abc', 'COMMITTED', 'of before', '{"k":1}', '2026-01-01T00:00:00.000', 'run00001', NULL, '["latest"]', $j);
            INSERT INTO artifact_aliases VALUES ('local', 'demo', 'numbers', 'latest', 9);
            """,
            ("$m", Encoding.UTF8.GetBytes(Convert.ToBase64String(MD5.HashData(Small)))),
            ("$n", Encoding.UTF8.GetBytes(Convert.ToBase64String(MD5.HashData(Data)))),
            ("$c", Small),
            ("$d", Data),
            ("$j", Encoding.UTF8.GetBytes("{\"version\":1,\"contents\":{}}"))
        );
        Execute(
            connection,
            $"UPDATE files SET md5 = CAST(md5 AS TEXT); INSERT INTO blobs VALUES ('local', '{DataMd5}', $d)",
            ("$d", Data)
        );
        Execute(
            connection,
            $"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {more}) INSERT INTO files SELECT 3, 'more/' || i, NULL, 4096, '2026-01-01T00:00:00.000', randomblob(4096) FROM n WHERE {more} > 0; PRAGMA wal_checkpoint(TRUNCATE)"
        );
    }

    private static async Task<JsonElement> QueryAsync(string url, string query)
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(new { query });
        var (status, _, answer) = await RawHttp.SendAsync(
            url,
            RawHttp.Head("POST", "/graphql", url, "Content-Type: application/json", $"Content-Length: {body.Length}"),
            body
        );
        var text = Encoding.UTF8.GetString(answer);
        Assert.Equal(200, status);
        using var document = JsonDocument.Parse(text);
        Assert.False(document.RootElement.TryGetProperty("errors", out _), text);
        return document.RootElement.GetProperty("data").Clone();
    }

    private static async Task AllIsThereAsync(string url)
    {
        var project = (
            await QueryAsync(
                url,
                """
                { project(name: "demo", entityName: "local") {
                  description
                  run(name: "run00001") { displayName notes tags state config summaryMetrics history user { username } files(names: ["config.yaml", "data/large.bin"]) { edges { node { name md5 sizeBytes } } } }
                  runQueue(name: "q") { createdBy runQueueItems(first: 10) { edges { node { id state runSpec associatedRunId launchAgentName exitCode } } } }
                  launchAgents { name hostname }
                  artifact(name: "numbers:latest") { digest state description metadata versionIndex }
                } }
                """
            )
        ).GetProperty("project");
        Assert.Equal("of before", project.GetProperty("description").GetString());
        var run = project.GetProperty("run");
        Assert.Equal(
            ("brave-wolf-1", "älter", "finished", "{\"lr\":{\"value\":0.1}}", "{\"loss\":0.25}", "me"),
            (
                run.GetProperty("displayName").GetString(),
                run.GetProperty("notes").GetString(),
                run.GetProperty("state").GetString(),
                run.GetProperty("config").GetString(),
                run.GetProperty("summaryMetrics").GetString(),
                run.GetProperty("user").GetProperty("username").GetString()
            )
        );
        Assert.Equal(["a", "b"], run.GetProperty("tags").EnumerateArray().Select(t => t.GetString()));
        Assert.Equal(
            ["{\"_step\":0,\"loss\":1.5}", "{\"_step\":1,\"loss\":0.25}"],
            run.GetProperty("history").EnumerateArray().Select(t => t.GetString())
        );
        Assert.Equal(
            [
                ("config.yaml", Convert.ToBase64String(MD5.HashData(Small)), 8L),
                ("data/large.bin", Convert.ToBase64String(MD5.HashData(Data)), 400_000L),
            ],
            run.GetProperty("files")
                .GetProperty("edges")
                .EnumerateArray()
                .Select(e => e.GetProperty("node"))
                .Select(n =>
                    (
                        n.GetProperty("name").GetString()!,
                        n.GetProperty("md5").GetString()!,
                        n.GetProperty("sizeBytes").GetInt64()
                    )
                )
        );
        var items = project
            .GetProperty("runQueue")
            .GetProperty("runQueueItems")
            .GetProperty("edges")
            .EnumerateArray()
            .Select(e => e.GetProperty("node"))
            .OrderBy(n => n.GetProperty("runSpec").GetProperty("n").GetInt32())
            .ToList();
        Assert.Equal(
            [
                "11 PENDING  ",
                "12 LEASED  agent-of-before",
                "13 CLAIMED run00001 agent-of-before",
                "14 FINISHED run00001 agent-of-before",
            ],
            items.Select(n =>
                $"{n.GetProperty("runSpec").GetProperty("n").GetInt32()} {n.GetProperty("state").GetString()} {n.GetProperty("associatedRunId").GetString()} {n.GetProperty("launchAgentName").GetString()}"
            )
        );
        Assert.Equal(0, items[3].GetProperty("exitCode").GetInt32());
        var agent = Assert.Single(project.GetProperty("launchAgents").EnumerateArray());
        Assert.Equal(
            ("agent-of-before", "box"),
            (agent.GetProperty("name").GetString(), agent.GetProperty("hostname").GetString())
        );
        var artifact = project.GetProperty("artifact");
        Assert.Equal(
            ("abc", "COMMITTED", "of before", "{\"k\":1}", 0),
            (
                artifact.GetProperty("digest").GetString(),
                artifact.GetProperty("state").GetString(),
                artifact.GetProperty("description").GetString(),
                artifact.GetProperty("metadata").GetString(),
                artifact.GetProperty("versionIndex").GetInt32()
            )
        );
        Assert.Equal(Small, await GetAsync(url, "/files/local/demo/run00001/config.yaml"));
        Assert.Equal(Data, await GetAsync(url, "/files/local/demo/run00001/data/large.bin"));
        Assert.Equal(Data, await GetAsync(url, "/artifacts/local/" + DataMd5));
    }

    private static async Task<byte[]> GetAsync(string url, string path)
    {
        var (status, _, body) = await RawHttp.SendAsync(url, RawHttp.Head("GET", path, url));
        Assert.Equal(200, status);
        return body;
    }

    // Every row as it was, and every content: nothing of the copy's is the server's of today.
    private static void IsOfBefore(string copy, long files = 2)
    {
        Assert.Equal(0, Version(copy));
        Assert.Equal("ok", Scalar<string>(copy, "PRAGMA integrity_check"));
        Assert.Equal(0L, Scalar<long>(copy, "SELECT COUNT(*) FROM pragma_table_info('files') WHERE name = 'hash'"));
        Assert.Equal(files, Scalar<long>(copy, "SELECT COUNT(*) FROM files WHERE length(content) = size"));
        Assert.Equal(Data, Scalar<byte[]>(copy, "SELECT content FROM files WHERE name = 'data/large.bin'"));
        Assert.Equal(Data, Scalar<byte[]>(copy, "SELECT content FROM blobs"));
        Assert.Equal(
            "11 PENDING ,12 LEASED 5000,13 CLAIMED ,14 FINISHED ",
            Scalar<string>(
                copy,
                "SELECT group_concat(t) FROM (SELECT id || ' ' || state || ' ' || COALESCE(lease_until, '') AS t FROM items ORDER BY id)"
            )
        );
        Assert.Equal(2L, Scalar<long>(copy, "SELECT COUNT(*) FROM history"));
        Assert.Equal(1L, Scalar<long>(copy, "SELECT COUNT(*) FROM artifacts"));
    }

    // What a table has, without the words by which it got there.
    private static string Layout(string path) =>
        Scalar<string>(
            path,
            """
            SELECT group_concat(line, char(10)) FROM (
              SELECT m.type || ' ' || m.name || ': ' || COALESCE((SELECT group_concat(c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || COALESCE(c.dflt_value, '-') || ' ' || c.pk, ', ') FROM pragma_table_info(m.name) c), '')
                || COALESCE((SELECT group_concat(COALESCE(i.name, '?'), ', ') FROM pragma_index_info(m.name) i), '') AS line
              FROM sqlite_master m WHERE m.name NOT LIKE 'sqlite_stat%' ORDER BY m.type, m.name)
            """
        );

    [Fact]
    public async Task A_database_of_before_is_brought_to_the_latest_version_and_kept_as_a_copy()
    {
        var path = Path.Combine(Fixture.NewFolder("migrate"), "wandb.db");
        Former(path);
        for (var start = 0; start < 2; start++)
        {
            using var server = new FileServer(path);
            await AllIsThereAsync(server.Url);
            Assert.Equal(DatabaseSchema.Latest, Version(path));
            Assert.Equal("0123456789abcdef0123456789abcdef", Scalar<string>(path, "SELECT name FROM identity"));
            Assert.Equal([$".before-v{DatabaseSchema.Latest}"], Copies(path));
            IsOfBefore(Copy(path));
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Copy(path)));
            }

            // It says so once, when it is made.
            Assert.Equal(start == 0 ? 1 : 0, server.Notes.Count);
            Assert.All(server.Notes, n => Assert.Contains(Copy(path) + ".", n, StringComparison.Ordinal));
        }

        // A new database has the same tables, and nothing to copy.
        var fresh = Path.Combine(Fixture.NewFolder("migrate-new"), "wandb.db");
        using (var server = new FileServer(fresh))
        {
            Assert.Equal(DatabaseSchema.Latest, Version(fresh));
            Assert.Empty(Copies(fresh));
            Assert.Empty(server.Notes);
            Assert.Equal(Layout(fresh), Layout(path));
        }

        // Gone back to the copy, and worked on it: what it is now is kept too, beside what it was.
        var first = await File.ReadAllBytesAsync(Copy(path));
        foreach (var suffix in new[] { "", "-wal", "-shm" })
        {
            File.Delete(path + suffix);
        }

        File.Copy(Copy(path), path);
        using (var connection = Open(path, true))
        {
            Execute(connection, "UPDATE projects SET created_at = '2026-02-02T00:00:00.000'");
        }

        using (var server = new FileServer(path))
        {
            await AllIsThereAsync(server.Url);
        }

        Assert.Equal([$".before-v{DatabaseSchema.Latest}", $".before-v{DatabaseSchema.Latest}.1"], Copies(path));
        Assert.Equal(first, await File.ReadAllBytesAsync(Copy(path)));
        Assert.Equal("2026-02-02T00:00:00.000", Scalar<string>(Copy(path) + ".1", "SELECT created_at FROM projects"));
    }

    public static TheoryData<string> Layouts =>
        ["runs only", "no identity", "no artifacts", "no pushes", "identity only", "all of today"];

    [Theory]
    [MemberData(nameof(Layouts))]
    public async Task Every_older_layout_becomes_todays(string layout)
    {
        var path = Path.Combine(Fixture.NewFolder("layout"), "wandb.db");
        using (var connection = Open(path, true))
        {
            if (layout == "identity only")
            {
                Execute(connection, "PRAGMA journal_mode = WAL;" + FormerIdentity);
            }
            else
            {
                Execute(connection, FormerTables + RunRows);
                Execute(connection, layout == "runs only" ? "" : FormerQueueTables + QueueRows);
                Execute(connection, layout is "runs only" or "no identity" ? "" : FormerIdentity);
                Execute(connection, layout is "no pushes" or "all of today" ? FormerArtifactTables : "");
                Execute(
                    connection,
                    layout == "all of today"
                        ? FormerPushes
                            + "ALTER TABLE files ADD COLUMN hash TEXT; CREATE INDEX files_by_hash ON files (hash); ALTER TABLE blobs ADD COLUMN hash TEXT"
                        : ""
                );
            }
        }

        var said = new List<string>();
        await using (var server = await LaunchServer.StartAsync(path, "127.0.0.1", 0, Fixture.Key, say: said.Add))
        {
            if (layout != "identity only")
            {
                var run = await QueryAsync(
                    server.Url,
                    "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { displayName } } }"
                );
                Assert.Contains("brave-wolf-1", run.ToString(), StringComparison.Ordinal);
            }

            Assert.Equal(layout == "identity only" ? 0 : 1, said.Count);
            Assert.Equal(said.Count, Copies(path).Length);
            Assert.Equal(32, Scalar<string>(path, "SELECT name FROM identity").Length);
        }

        var fresh = Path.Combine(Fixture.NewFolder("layout-new"), "wandb.db");
        new Database(fresh).Dispose();
        Assert.Equal(DatabaseSchema.Latest, Version(path));
        Assert.Equal(Layout(fresh), Layout(path));
    }

    [Fact]
    public async Task A_server_that_is_killed_while_it_migrates_leaves_a_whole_database()
    {
        const int More = 8_000;
        var origin = Path.Combine(Fixture.NewFolder("killed-origin"), "wandb.db");
        Former(origin, More);
        var folder = Fixture.NewFolder("killed");
        var path = Path.Combine(folder, "wandb.db");

        // While the copy is written: it is no copy yet, and the database is as it was.
        File.Copy(origin, path);
        await KillWhenAsync(path, () => File.Exists(Copy(path) + ".new"));
        Assert.True(File.Exists(Copy(path) + ".new"), "killed too late");
        Assert.Empty(
            Copies(path)
                .Except([$".before-v{DatabaseSchema.Latest}.new", $".before-v{DatabaseSchema.Latest}.new-journal"])
        );
        Whole(0);

        // After the copy and before the first step, where another program's transaction holds it.
        using (var other = Open(path, true))
        {
            Execute(other, "BEGIN IMMEDIATE");
            await KillWhenAsync(path, () => File.Exists(Copy(path)));
            Execute(other, "ROLLBACK");
        }

        Whole(0);
        IsOfBefore(Copy(path), More + 2);
        var copied = new FileInfo(Copy(path)).LastWriteTimeUtc;

        // Anywhere in the steps or after them.
        for (var round = 0; round < 4; round++)
        {
            var delay = Stopwatch.StartNew();
            var wait = round * 15;
            await KillWhenAsync(
                path,
                () =>
                    new FileInfo(path + "-wal") is { Exists: true, Length: > 0 } || delay.ElapsedMilliseconds > 60_000,
                wait
            );
            Whole(null);
        }

        using (var server = new FileServer(path))
        {
            await AllIsThereAsync(server.Url);
            Whole(DatabaseSchema.Latest);
        }

        // However often it was begun: one copy, the first.
        Assert.Equal([$".before-v{DatabaseSchema.Latest}"], Copies(path));
        Assert.Equal(copied, new FileInfo(Copy(path)).LastWriteTimeUtc);

        void Whole(long? version)
        {
            var found = Version(path);
            Assert.Contains(found, version is { } one ? [one] : new long[] { 0, DatabaseSchema.Latest });
            Assert.Equal("ok", Scalar<string>(path, "PRAGMA quick_check"));
            Assert.Equal(More + 2L, Scalar<long>(path, "SELECT COUNT(*) FROM files"));
            Assert.Equal(
                found == 0 ? 0L : 2L,
                Scalar<long>(
                    path,
                    "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('files_by_hash', 'blobs_by_hash')"
                )
            );
        }
    }

    private static async Task KillWhenAsync(string path, Func<bool> when, int wait = 0)
    {
        using var process = Start(path);
        for (var i = 0; !when(); i++)
        {
            Assert.True(i < 30_000, "it never came to that");
            Assert.False(process.HasExited, "it ended by itself");
            await Task.Delay(2);
        }

        await Task.Delay(wait);
        process.Kill();
        await process.WaitForExitAsync();
    }

    private static Process Start(string path) =>
        Process.Start(
            new ProcessStartInfo("dotnet")
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                ArgumentList = { Path.Combine(Fixture.Module, "server", "WandbLaunch.Server.dll"), "--path", path },
                Environment = { ["WANDBLAUNCH_SERVER_KEY"] = Fixture.Key },
            }
        )!;

    private static async Task<string> FailAsync(string path)
    {
        using var process = Start(path);

        // One that starts is killed, and is the wrong answer below.
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        using var kill = limit.Token.Register(process.Kill);
        var error = await process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.Equal((3, ""), (process.ExitCode, output));
        Assert.Single(error.TrimEnd('\n').Split('\n'));
        return error;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(int.MaxValue - 100)]
    [InlineData(-100)]
    public async Task A_database_of_a_newer_version_is_refused_and_stays_as_it_is(int above)
    {
        var folder = Fixture.NewFolder("newer");
        var path = Path.Combine(folder, "wandb.db");
        Former(path);
        var version = DatabaseSchema.Latest + above;
        using (var connection = Open(path, true))
        {
            Execute(
                connection,
                $"CREATE TABLE of_tomorrow (x); PRAGMA user_version = {version}; PRAGMA wal_checkpoint(TRUNCATE)"
            );
        }

        var before = await File.ReadAllBytesAsync(path);
        var error = await FailAsync(path);
        Assert.Contains(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{path} is a database of version {version}, and this server knows versions up to {DatabaseSchema.Latest}."
            ),
            error,
            StringComparison.Ordinal
        );
        using (var shell = new Shell(false))
        {
            var fault = shell.Fails("Start-WandbLaunchServer -Path $path", "DatabaseUnusable", ("path", path));
            Assert.Contains($"of version {version},", fault.ToString(), StringComparison.Ordinal);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(path));
        Assert.Empty(Copies(path));
        Assert.False(Directory.Exists(path + ".files"));
    }

    [Theory]
    [InlineData(300_000)]
    [InlineData(0)]
    public async Task A_full_disk_ends_the_start_and_leaves_a_database_of_before_as_it_is(int room)
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && Environment.UserName == "root",
            "mounts a small file system, which only root may"
        );
        var mount = Fixture.NewFolder("migrate-full");
        using (var process = Process.Start("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", mount]))
        {
            await process.WaitForExitAsync();
            Assert.SkipUnless(process.ExitCode == 0, "mount is not allowed here");
        }

        try
        {
            var path = Path.Combine(mount, "wandb.db");
            Former(path);
            var before = await File.ReadAllBytesAsync(path);
            var filler = Path.Combine(mount, "filler");
            await using (var file = new FileStream(filler, FileMode.Create, FileAccess.Write, FileShare.None, 0))
            {
                var block = new byte[4096];
                try
                {
                    while (true)
                    {
                        file.Write(block);
                    }
                }
                catch (IOException)
                {
                    // Full.
                }

                file.SetLength(file.Length - room);
            }

            var error = await FailAsync(path);
            Assert.Contains(path, error, StringComparison.Ordinal);
            Assert.Matches("(?i)no room|disk is full|no space", error);
            Assert.Equal(before, await File.ReadAllBytesAsync(path));
            Assert.Empty(Copies(path));

            // With room, it starts.
            File.Delete(filler);
            using var server = new FileServer(path);
            await AllIsThereAsync(server.Url);
            IsOfBefore(Copy(path));
        }
        finally
        {
            using var process = Process.Start("umount", ["-l", mount]);
            await process.WaitForExitAsync();
        }
    }

    [Fact]
    public void Who_starts_the_server_is_told_where_the_copy_is()
    {
        var path = Path.Combine(Fixture.NewFolder("told"), "wandb.db");
        Former(path);
        using var shell = new Shell(false);
        try
        {
            shell.Ok("$null = Start-WandbLaunchServer -Path $path", ("path", path));
            Assert.Contains(shell.Warnings, w => w.Message.Contains(Copy(path), StringComparison.Ordinal));
        }
        finally
        {
            shell.Ok("Stop-WandbLaunchServer -Path $path", ("path", path));
        }
    }
}
