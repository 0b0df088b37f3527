using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Docker.DotNet.Models;
using FsCheck;
using FsCheck.Fluent;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Server;
using WandbLaunch.Server.Data;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>What somebody can do to an agent who can write to its queue, to its folder, or is its server.</summary>
public sealed class HostileAgentTests
{
    private const string Project = "model-registry";

    private static string Repository(string program)
    {
        var folder = Fixture.NewFolder("hostile-repo");
        File.WriteAllText(Path.Combine(folder, "main.py"), program);
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        Fixture.Git(folder, "init", "-q");
        Fixture.Git(folder, "add", ".");
        Fixture.Git(folder, "commit", "-q", "-m", "one");
        return new Uri(folder).AbsoluteUri;
    }

    private static JsonObject Spec(string uri, params string[] words) =>
        new()
        {
            ["uri"] = uri,
            ["resource"] = "local-process",
            ["entity"] = "local",
            ["project"] = "hostile",
            ["overrides"] = new JsonObject
            {
                ["args"] = new JsonArray([.. words.Select(w => (JsonNode?)JsonValue.Create(w))]),
            },
        };

    /// <summary>A server with its file, to write texts into it that no client sends.</summary>
    private sealed class Place : IAsyncDisposable
    {
        private static readonly TimeSpan Lease = TimeSpan.FromSeconds(15);

        private readonly MovedTime _time = new();
        private LaunchServer _server = null!;

        internal void EndLeases() => _time.Move(Lease + TimeSpan.FromSeconds(1));

        internal WandbConnection Connection { get; private set; } = null!;
        internal string Database { get; } = Path.Combine(Fixture.NewFolder("hostile-server"), "wandb.db");
        internal string Url => _server.Url;
        internal ConcurrentQueue<AgentEvent> Events { get; } = [];

        internal static async Task<Place> CreateAsync()
        {
            var place = new Place();
            place._server = await LaunchServer.StartAsync(
                place.Database,
                "127.0.0.1",
                0,
                Fixture.Key,
                lease: Lease,
                time: place._time
            );

            // What an agent makes of an item is its own affair: other servers check nothing.
            place._server.Services.GetRequiredService<ItemRepository>().ChecksItems = false;
            place.Connection = await ConnectAsync(place.Url);
            await place.Connection.Queues.CreateAsync(new NewQueue("local", Project, "q", "PROJECT"), default);
            return place;
        }

        internal static Task<WandbConnection> ConnectAsync(string url) =>
            WandbConnection.OpenAsync(
                WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key, null, "hostile"),
                null,
                default
            );

        internal async Task PushAsync(params JsonObject[] specs) =>
            Assert.All(
                await Connection.Queues.PushAsync(
                    "local",
                    Project,
                    "q",
                    null,
                    [.. specs.Select(s => new QueuePush(s))],
                    default
                ),
                p => Assert.Null(p.Fault)
            );

        internal void Sql(string text, params (string Name, object Value)[] values)
        {
            using var connection = new SqliteConnection($"Data Source={Database};Default Timeout=30");
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = text;
            foreach (var (name, value) in values)
            {
                command.Parameters.AddWithValue(name, value);
            }

            command.ExecuteNonQuery();
        }

        internal List<(string State, int? Code, string? Error)> Items()
        {
            using var connection = new SqliteConnection($"Data Source={Database};Default Timeout=30");
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = "SELECT state, exit_code, error FROM items ORDER BY id";
            using var reader = command.ExecuteReader();
            var items = new List<(string, int?, string?)>();
            while (reader.Read())
            {
                items.Add(
                    (
                        reader.GetString(0),
                        reader.IsDBNull(1) ? null : reader.GetInt32(1),
                        reader.IsDBNull(2) ? null : JsonNode.Parse(reader.GetString(2))!["message"]?.ToString()
                    )
                );
            }

            return items;
        }

        internal Task<LaunchAgent> AgentAsync(string settings = "{}", WandbConnection? connection = null)
        {
            var map = (JsonObject)
                JsonNode.Parse(
                    $$"""{ "name": "h-{{Guid.NewGuid().ToString("n")[..6]}}", "queues": "q", "no_install": true, "max_retry": 0, "policy": { "resources": ["local-process", "local-container"], "git_hosts": ["file"] } }"""
                )!;
            foreach (var (key, value) in (JsonObject)JsonNode.Parse(settings)!)
            {
                map[key] = value?.DeepClone();
            }

            return LaunchAgent.StartAsync(
                AgentConfig.Resolve(new LaunchEnvironment(), null, map),
                connection ?? Connection,
                new AgentCallbacks
                {
                    Happened = Events.Enqueue,
                    RetryPause = _ => TimeSpan.FromMilliseconds(50),
                    AwayPause = _ => TimeSpan.FromMilliseconds(50),
                    RunPause = _ => TimeSpan.FromMilliseconds(50),
                },
                default
            );
        }

        internal async Task<int> RunAsync(
            string settings = """{ "stop_when_empty": true }""",
            WandbConnection? by = null
        )
        {
            using var agent = await AgentAsync(settings, by);
            return await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(90));
        }

        internal async Task UntilAsync(Func<bool> there)
        {
            for (var i = 0; !there(); i++)
            {
                Assert.True(i < 600, string.Join("\n", Events));
                await Task.Delay(50);
            }
        }

        public async ValueTask DisposeAsync()
        {
            Connection.Dispose();
            await _server.DisposeAsync();
        }
    }

    private static string Nested(int levels) =>
        string.Concat(Enumerable.Repeat("{\"a\":", levels)) + "1" + new string('}', levels);

    [Fact]
    public async Task An_item_that_cannot_be_read_fails_with_a_reason_and_neither_this_agent_nor_the_next_ends()
    {
        await using var place = await Place.CreateAsync();
        (string Text, string Reason)[] hostile =
        [
            ("""{"uri":"a","uri":"b"}""", "'uri' twice"),
            ("""{"uri":"file:///x","overrides":{"args":["a"],"args":["b"]}}""", "'overrides.args' twice"),
            ("""{"overrides":{"run_config":{"deep":[{"k":1,"k":2}]}}}""", "'overrides.run_config.deep.k' twice"),
            ("""{"run_id":"a","run_id":"b","entity":"local","entity":"other"}""", "'run_id' twice"),
            (Nested(45), "deeper than 40 levels"),
            ("""{"uri":"file:///x","run_id":"../../x"}""", "run_id cannot be"),
            ("""{"uri":"file:///x","run_id":{"a":1},"entity":["b"]}""", "entity"),
            ("""{"uri":"file:///x","entity":"local","sweep_id":{}}""", "'sweep_id' must be a string"),
            ("""{"uri":"file:///x","_wandb_api_key":["a"]}""", "'_wandb_api_key' must be a string"),
            ("""{"uri":"file:///x","author":"a\nb"}""", "'author' must be a string"),
            ("""{"uri":"file:///x","docker":{"user_id":99999999999999999999}}""", "user_id"),
            ("""{"uri":"file:///x","_resume_count":1e999,"cuda":"maybe"}""", "cuda"),
            (
                """{"docker":{"docker_image":"a"},"resource":"local-container","resource_args":{"local-container":{"memory":"1g","--Memory":"2g"}}}""",
                "'memory' is given twice"
            ),
            (
                """{"docker":{"docker_image":"a"},"resource_args":{"local":{},"local-container":{}}}""",
                "'local-container' twice"
            ),
            ("""{"docker":{"docker_image":"a"},"resource_args":{"local":[1]}}""", "must be an object"),
            ($$"""{"uri":"{{new string('u', 3 << 20)}}"}""", "not"),
            (
                """{"uri":"placeholder","overrides":{"entry_point":["sh","-c","true"]},"resource":"bare"}""",
                "wandb scheduler"
            ),
            ("""{"project":{},"uri":[],"job":{},"git":"x","template_variables":7,"build":"x","resource":3}""", "git"),
        ];
        await place.PushAsync([
            .. Enumerable.Range(0, hostile.Length).Select(_ => Spec("file:///x")),
            Spec(Repository("print(1)\n")),
        ]);
        for (var i = 0; i < hostile.Length; i++)
        {
            place.Sql("UPDATE items SET spec = $s WHERE id = $i", ("$s", hostile[i].Text), ("$i", i + 1));
        }

        Assert.Equal(LaunchAgent.ExitFailures, await place.RunAsync());
        var items = place.Items();
        for (var i = 0; i < hostile.Length; i++)
        {
            Assert.True(
                items[i].State == "FAILED"
                    && items[i].Error?.Contains(hostile[i].Reason, StringComparison.Ordinal) == true,
                $"{hostile[i].Text[..Math.Min(80, hostile[i].Text.Length)]}: {items[i]}"
            );
            Assert.True(items[i].Error!.Length < 9000);
        }

        Assert.Equal("FINISHED", items[^1].State);
        Assert.Equal(0, await place.RunAsync());
    }

    [Fact]
    public void A_spec_is_read_once_and_is_whole()
    {
        Assert.Null(ItemSpec.Read("""{"a":[1,{"b":null}],"A":2,"n":1e999,"z":123456789012345678901234567890}""").Fault);
        Assert.Contains("deeper", ItemSpec.Read(Nested(41)).Fault, StringComparison.Ordinal);
        Assert.Contains("deeper", ItemSpec.Read(Nested(20_000)).Fault, StringComparison.Ordinal);
        Assert.Null(ItemSpec.Read(Nested(39)).Fault);
        Assert.Contains(
            "more than",
            ItemSpec.Read("{\"a\":[" + string.Join(',', Enumerable.Repeat("1", 200_001)) + "]}").Fault,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "4 MiB",
            ItemSpec.Read("{\"a\":\"" + new string('x', ItemSpec.MostCharacters) + "\"}").Fault,
            StringComparison.Ordinal
        );
        foreach (var text in new[] { "", "[]", "7", "null", "\"{}\"", "{", "{\"a\":}", "\0" })
        {
            Assert.NotNull(ItemSpec.Read(text).Fault);
        }

        // Whatever bytes it is made of, all of it can be used afterwards, and goes through a journal.
        var pieces = Gen.Elements(
            "{",
            "}",
            "[",
            "]",
            "\"a\":",
            "\"a\"",
            "\"\\ud800\"",
            """{"uri":"\ud800"}""",
            """{"\udc00":1}""",
            "\"\\u0000\":",
            "1e400",
            "-0",
            ",",
            "null",
            "\"uri\":",
            "\"x\""
        );
        var texts = Gen.ListOf(pieces).Select(p => "{" + string.Concat(p) + "}");
        Prop.ForAll(
                Arb.From(texts),
                text =>
                {
                    var (spec, _) = ItemSpec.Read(text);
                    _ = spec.DeepClone().ToJsonString();
                    _ = (spec["uri"]?.ToString(), spec["run_id"]?.ToString(), spec["entity"]?.ToString());
                    _ = LaunchConfig.Tolerant(spec).Source;
                }
            )
            .Check(FsCheck.Config.QuickThrowOnFailure.WithMaxTest(1000));
    }

    [Fact]
    public async Task An_answer_of_any_shape_gives_an_item_that_fails_or_is_no_item()
    {
        await using var place = await Place.CreateAsync();
        string[] specs =
        [
            "7",
            "null",
            "[1]",
            "\"no json\"",
            "\"{\\\"uri\\\":1,\\\"uri\\\":2}\"",
            "{\"uri\":1,\"uri\":2}",
            "\"\\ud800\"",
            """{"uri":"\ud800"}""",
            """{"\udc00":1}""",
            Nested(300),
            JsonSerializer.Serialize(Nested(3000)),
        ];
        var told = new ConcurrentQueue<JsonNode>();
        var next = 0;
        using var proxy = new Proxy(place.Url)
        {
            Answer = asked =>
            {
                var query = asked["query"]!.ToString();
                if (query.Contains("failRunQueueItem(", StringComparison.Ordinal))
                {
                    told.Enqueue(asked["variables"]!);
                    return """{"data":{"failRunQueueItem":{"success":true}}}""";
                }

                return query.Contains("popFromRunQueue(", StringComparison.Ordinal) && next < specs.Length
                    ? $$"""{"data":{"popFromRunQueue":{"runQueueItemId":"x{{next}}","runSpec":{{specs[next++]}} } } }"""
                    : null;
            },
        };
        using var connection = await Place.ConnectAsync(proxy.Url);
        Assert.Equal(LaunchAgent.ExitFailures, await place.RunAsync(by: connection));
        Assert.Equal(
            Enumerable.Range(0, specs.Length).Select(i => $"x{i}"),
            told.Select(t => t["runQueueItemId"]!.ToString())
        );
        Assert.All(
            told,
            t =>
                Assert.StartsWith(
                    "The item's launch config cannot be used",
                    t["message"]!.ToString(),
                    StringComparison.Ordinal
                )
        );
        Assert.DoesNotContain(place.Events, e => e.Kind == AgentEventKind.ServerAway);
    }

    [Fact]
    public async Task Items_that_the_server_says_are_not_ours_are_left_alone_and_hold_nothing_up()
    {
        await using var place = await Place.CreateAsync();
        var ran = Path.Combine(Fixture.NewFolder("not-ours"), "ran");
        var uri = Repository($"import sys\nopen({JsonSerializer.Serialize(ran)}, 'a').write(sys.argv[1])\n");
        await place.PushAsync(Spec(uri, "a"), Spec(uri, "b"), Spec(uri, "c"));
        using var proxy = new Proxy(place.Url)
        {
            Answer = asked =>
            {
                var query = asked["query"]!.ToString();
                var id = (asked["variables"]?["itemId"] ?? asked["variables"]?["input"]?["runQueueItemId"])?.ToString();
                return
                    (query.Contains("ackRunQueueItem(", StringComparison.Ordinal) && id == "1")
                    || (query.Contains("finishRunQueueItem(", StringComparison.Ordinal) && id == "2")
                    ? """{"errors":[{"message":"permission denied: the item belongs to another entity"}],"data":null}"""
                    : null;
            },
        };
        using var connection = await Place.ConnectAsync(proxy.Url);
        await place.RunAsync("""{ "stop_when_empty": true, "max_jobs": 3 }""", connection);
        Assert.Equal("bc", string.Concat((await File.ReadAllTextAsync(ran)).Order()));
        Assert.Equal("FINISHED", place.Items()[2].State);
        Assert.DoesNotContain(place.Events, e => e.Kind == AgentEventKind.ServerAway);
        Assert.Contains(place.Events, e => e.Message.Contains("could not be acknowledged", StringComparison.Ordinal));
        Assert.Contains(place.Events, e => e.Message.Contains("does not take the report", StringComparison.Ordinal));
        Assert.All(
            AgentStore
                .Of(new LaunchContext())
                .Folders()
                .Where(f => Path.GetFileName(f).StartsWith("h-", StringComparison.Ordinal)),
            f =>
                Assert.DoesNotContain(
                    new AgentJournal(f).Entries(),
                    e => e.Server.StartsWith(proxy.Url, StringComparison.Ordinal)
                )
        );
    }

    [Fact]
    public async Task An_item_whose_lease_was_over_is_its_first_takers_also_when_both_name_the_same_run()
    {
        await using var place = await Place.CreateAsync();
        await place.PushAsync(Spec("file:///x"));
        var api = await place.Connection.Api.ProtocolAsync(default);
        var queue = await place.Connection.Queues.GetAsync("local", Project, "q", null, default);
        var first = (await api.PopAsync("local", Project, "q", null, default))!;
        place.EndLeases();
        var second = (await api.PopAsync("local", Project, "q", null, default))!;
        Assert.Equal(first.Id, second.Id);
        Assert.True(await api.ClaimAsync(queue, first.Id, "same", false, default));
        Assert.False(await api.ClaimAsync(queue, first.Id, "same", false, default));

        // Whose answer was lost asks again, and it is his.
        Assert.True(await api.ClaimAsync(queue, first.Id, "same", true, default));
    }

    private static JournalEntry Entry(
        string id,
        string server,
        JsonObject spec,
        EntryState state = EntryState.Popped
    ) =>
        new()
        {
            LaunchId = id,
            Item = "i-" + id,
            Server = server,
            Entity = "local",
            QueueProject = Project,
            Queue = "q",
            QueueId = "1",
            Spec = spec,
            State = state,
            Taken = DateTimeOffset.UnixEpoch,
            Gpus = ["0"],
            Report = state == EntryState.Ended ? new EntryReport("FAILED", 3, "why", "run", null) : null,
        };

    [Fact]
    public void A_journal_cut_at_any_byte_or_changed_at_any_byte_never_throws_and_loses_no_whole_entry()
    {
        var folder = Fixture.NewFolder("journal");
        var journal = new AgentJournal(folder);
        var whole = Entry(
            "wholeone",
            "s",
            (JsonObject)JsonNode.Parse("""{"uri":"ä","overrides":{"args":["a",1,null]}}""")!
        );
        var other = Entry("otherone", "s", new JsonObject { ["uri"] = "b" }, EntryState.Ended);
        journal.Save(whole);
        journal.Save(other);
        var path = Path.Combine(folder, "items", "otherone.json");
        var bytes = File.ReadAllBytes(path);
        void Check(byte[] text, bool complete)
        {
            File.WriteAllBytes(path, text);
            var told = new List<string>();
            var ids = journal.Entries(told.Add).Select(e => e.LaunchId).ToList();
            Assert.Contains("wholeone", ids);
            Assert.Equal(ids.Contains("otherone") ? 0 : 1, told.Count);
            if (complete)
            {
                Assert.Contains("otherone", ids);
            }

            // Said once: it is put aside.
            Assert.Empty(Told(journal));
            foreach (var aside in Directory.EnumerateFiles(Path.Combine(folder, "items"), "*.broken-*"))
            {
                File.Delete(aside);
            }
        }

        for (var length = 0; length <= bytes.Length; length++)
        {
            Check(bytes[..length], length == bytes.Length);
        }

        var random = new Random(7);
        for (var i = 0; i < 1000; i++)
        {
            var changed = bytes.ToArray();
            changed[random.Next(changed.Length)] = (byte)random.Next(256);
            Check(changed, changed.AsSpan().SequenceEqual(bytes));
        }

        foreach (
            var text in new[]
            {
                "null",
                "[]",
                "{}",
                """{"LaunchId":"otherone","Item":null,"Server":null,"Entity":null,"QueueProject":null,"Queue":null,"QueueId":null,"Spec":null}""",
                """{"LaunchId":"otherone","Item":"i","Server":"s","Entity":"e","QueueProject":"p","Queue":"q","QueueId":"1","Spec":{},"State":99}""",
                """{"LaunchId":"otherone","Item":"i","Server":"s","Entity":"e","QueueProject":"p","Queue":"q","QueueId":"1","Spec":{},"State":"Ended"}""",
                """{"LaunchId":"../../x","Item":"i","Server":"s","Entity":"e","QueueProject":"p","Queue":"q","QueueId":"1","Spec":{}}""",
                Nested(5000),
            }
        )
        {
            Check(Encoding.UTF8.GetBytes(text), false);
            Assert.False(File.Exists(path), text);
        }

        static List<string> Told(AgentJournal journal)
        {
            var told = new List<string>();
            _ = journal.Entries(told.Add);
            return told;
        }
    }

    [Fact]
    public async Task An_agent_with_a_damaged_journal_starts_says_so_once_and_goes_on_with_the_rest()
    {
        await using var place = await Place.CreateAsync();
        var ran = Path.Combine(Fixture.NewFolder("damaged"), "ran");
        await place.PushAsync(Spec(Repository($"open({JsonSerializer.Serialize(ran)}, 'a').write('x')\n")));
        using var agent = await place.AgentAsync("""{ "stop_when_empty": true }""");
        var items = Path.Combine(agent.Folder, "items");
        Directory.CreateDirectory(items);

        // Popped by the agent that was killed; its entry is whole, those beside it are not.
        var api = await place.Connection.Api.ProtocolAsync(default);
        var popped = (await api.PopAsync("local", Project, "q", null, default))!;
        var id = AgentJournal.LaunchIdOf(agent.ServerKey, popped.Id);
        agent.Journal.Save(Entry(id, agent.ServerKey, popped.Spec) with { Item = popped.Id, Gpus = null });
        await File.WriteAllTextAsync(Path.Combine(items, "aaaaaaaa.json"), "{\"LaunchId\":");
        await File.WriteAllTextAsync(
            Path.Combine(items, "bbbbbbbb.json"),
            JsonSerializer
                .Serialize(Entry("bbbbbbbb", agent.ServerKey, []), LaunchStore.Json)
                .Replace("\"Spec\": {}", "\"Spec\": {\"uri\":\"a\",\"uri\":\"b\"}", StringComparison.Ordinal)
        );
        await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal("x", await File.ReadAllTextAsync(ran));
        Assert.Equal("FINISHED", place.Items()[0].State);
        Assert.Single(place.Events, e => e.Message.Contains("aaaaaaaa.json is damaged", StringComparison.Ordinal));
        Assert.Single(Directory.EnumerateFiles(items));
    }

    [Fact]
    public async Task What_items_say_gives_no_orders_to_a_terminal()
    {
        await using var place = await Place.CreateAsync();
        await place.PushAsync(
            Spec("\u001b]0;owned\u0007https://x"),
            Spec("file:///nothing\u001b[2J\u202e", "\u001b[31m")
        );
        await place.RunAsync();
        Assert.All(
            place.Events.SelectMany(e => new[] { e.Message, e.Source, e.RunId, e.ToString() }).OfType<string>(),
            t => Assert.DoesNotContain(t, c => (char.IsControl(c) && c is not ('\n' or '\t' or '\r')) || c == '\u202e')
        );
    }

    [Fact]
    public async Task Template_words_and_shell_words_in_an_item_are_only_words()
    {
        await using var place = await Place.CreateAsync();
        var uri = Repository("import sys, json, os\nprint(json.dumps([sys.argv[1:], os.environ['WANDB_CONFIG']]))\n");
        string[] words = ["${HOME}", "{{name}}", "$(touch /tmp/x)", "${image_uri}", "`id`", "%PATH%", "{{ {{a}} }}"];
        var spec = Spec(uri, words);
        spec["overrides"]!["run_config"] = new JsonObject
        {
            ["${WANDB_API_KEY}"] = "${WANDB_API_KEY}",
            ["{{a}}"] = "{{a}}",
        };
        spec["template_variables"] = new JsonObject { ["a"] = "{{a}}", ["HOME"] = new JsonObject() };
        await place.PushAsync(spec);
        Assert.Equal(0, await place.RunAsync());
        var run = LaunchStore.Of(new LaunchContext()).All().First(r => r.Source == uri);
        var log = JsonNode.Parse(await File.ReadAllTextAsync(run.LogPath!))!;
        Assert.Equal(words, log[0]!.AsArray().Select(w => w!.ToString()));
        Assert.Equal("""{"${WANDB_API_KEY}":"${WANDB_API_KEY}","{{a}}":"{{a}}"}""", log[1]!.ToString());
    }

    [Fact]
    public async Task A_program_with_more_words_than_the_system_takes_fails_with_a_name_for_it()
    {
        await using var place = await Place.CreateAsync();
        var uri = Repository("print(1)\n");
        await place.PushAsync(Spec(uri, new string('a', 200_000)), Spec(uri), Spec(uri));

        // More than a server of ours takes.
        place.Sql(
            "UPDATE items SET spec = $s WHERE id = 2",
            ("$s", Spec(uri, [.. Enumerable.Range(0, 30).Select(_ => new string('b', 100_000))]).ToJsonString())
        );
        await place.RunAsync();
        var items = place.Items();
        Assert.Equal(["FAILED", "FAILED", "FINISHED"], items.Select(i => i.State));
        Assert.Contains("200000 bytes long", items[0].Error, StringComparison.Ordinal);
        Assert.Contains("larger than the system takes", items[1].Error, StringComparison.Ordinal);
        Assert.All(
            place.Events.Where(e => e.Kind == AgentEventKind.RunFailed),
            e => Assert.Equal("CommandTooLarge", e.ErrorId)
        );
    }

    [Fact]
    public void Names_are_made_one_before_any_check()
    {
        LaunchConfig Of(string json) => Launches.Resources.Canonical(LaunchConfig.FromText(json, "a test"));
        Assert.Equal(
            "{\"local-container\":{\"memory\":\"1g\",\"volume\":[\"/a:/b\"],\"env\":\"A=1\",\"cpu-shares\":2,\"hostname\":\"h\",\"network\":\"host\"}}",
            Of(
                """{"resource_args":{"local":{"--Memory":"1g","-v":["/a:/b"],"E":"A=1","c":2,"-h":"h","_net":"host"}}}"""
            )
                .ResourceArgs!.ToJsonString()
        );
        Assert.Equal("local-process", Of("""{"resource":"bare"}""").Resource);
        Assert.Equal(
            "ResourceArgsTwice",
            Assert.Throws<LaunchException>(() => Of("""{"resource_args":{"local":{},"local-container":{}}}""")).ErrorId
        );
        foreach (
            var pair in new[]
            {
                "\"v\":\"a\",\"volume\":\"b\"",
                "\"cpu_shares\":2,\"cpu-shares\":3",
                "\"-m\":1,\"MEMORY\":2",
            }
        )
        {
            Assert.Equal(
                "DockerArgumentTwice",
                Assert.Throws<LaunchException>(() => Of("{\"docker\":{\"args\":{" + pair + "}}}")).ErrorId
            );
        }

        // Under every name a mount is asked for, and the policy sees it.
        foreach (var resource in new[] { "local", "local-container" })
        {
            foreach (var name in new[] { "v", "-v", "--v", "volume", "--volume", "VOLUME", "_volume", " volume", "-V" })
            {
                var config = new LaunchConfig
                {
                    Uri = "https://github.com/a/b",
                    ResourceArgs = new JsonObject { [resource] = new JsonObject { [name] = "/etc:/mnt" } },
                };
                var refused = Assert.Throws<LaunchException>(() => new AgentPolicy().CheckAll(config, "me", "me"));
                Assert.Contains("mount of '/etc'", refused.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Secure_mode_lets_an_item_say_nothing_of_which_program_runs()
    {
        var policy = new AgentPolicy { SecureMode = true };
        LaunchConfig Of(string json) => LaunchConfig.FromText(json, "a test");
        foreach (
            var json in new[]
            {
                """{"uri":"https://github.com/a/b","overrides":{"entry_point":["sh"]}}""",
                """{"uri":"https://github.com/a/b","overrides":{"entry_point":"python -c 1"}}""",
                """{"docker":{"docker_image":"python"},"overrides":{"args":["python","-c","evil"]}}""",
                """{"docker":{"docker_image":"python"},"overrides":{"args":{"c":"evil"}}}""",
                """{"image_uri":"python","overrides":{"args":["sh"]}}""",
                """{"uri":"https://github.com/a/b","docker":{"args":{"env":["PYTHONSTARTUP=/tmp/x"]}}}""",
                """{"uri":"https://github.com/a/b","resource_args":{"local":{"-E":"LD_PRELOAD=/tmp/x"}}}""",
                """{"uri":"https://github.com/a/b","resource_args":{"local-container":{"workdir":"/tmp"}}}""",
                """{"uri":"https://github.com/a/b","resource_args":{"local-container":{"_W":"/tmp"}}}""",
                """{"uri":"placeholder-uri","overrides":{"entry_point":["wandb","scheduler","s"]}}""",
            }
        )
        {
            Assert.True(
                Assert
                    .Throws<LaunchException>(() => policy.CheckAll(Of(json), "me", "me"))
                    .Message.Contains("secure mode", StringComparison.Ordinal),
                json
            );
        }

        policy.CheckAll(Of("""{"uri":"https://github.com/a/b","overrides":{"args":["--lr","1"]}}"""), "me", "me");
        policy.CheckAll(Of("""{"docker":{"docker_image":"python"}}"""), "me", "me");

        // An image of a job is known only when the job was read.
        Assert.Throws<LaunchException>(() =>
            policy.CheckSecure(Of("""{"docker":{"docker_image":"x"},"job":"a/b/c","overrides":{"args":["sh"]}}"""))
        );
    }

    [Theory]
    [InlineData("*", "anything.example:5000/a/b@sha256:00", true)]
    [InlineData("python:3.12", "python:3.12", true)]
    [InlineData("python:3.12", "docker.io/library/python:3.12", true)]
    [InlineData("docker.io/library/python:3.12", "python:3.12", true)]
    [InlineData("index.docker.io/python:3.12", "library/python:3.12", true)]
    [InlineData("python", "python:latest", true)]
    [InlineData("python", "python:3.12", false)]
    [InlineData("python:3.12", "python:3.12@sha256:0123", false)]
    [InlineData("python:*", "python:3.12@sha256:0123", true)]
    [InlineData("python:3.*", "python:3.12@sha256:0123", false)]
    [InlineData("python@sha256:0123", "python:anything@sha256:0123", true)]
    [InlineData("python@sha256:0123", "python:latest", false)]
    [InlineData("python*", "python.evil.example/x", false)]
    [InlineData("python:*", "python:5000/evil/x", false)]
    [InlineData("registry.example/*", "registry.example/a/b:1", true)]
    [InlineData("registry.example/*", "registry.example/a@sha256:01", true)]
    [InlineData("registry.example/*", "REGISTRY.example/a", true)]
    [InlineData("registry.example/*", "registry.example:5000/a", false)]
    [InlineData("registry.example/*", "registry.example.evil.example/a", false)]
    [InlineData("registry.example/*", "evil.example/registry.example/a", false)]
    [InlineData("*.example/app", "evil.test/a.example/app", false)]
    [InlineData("*.example/app", "a.example/app", true)]
    [InlineData("ghcr.io/team/*", "ghcr.io/team/../evil/x", true)] // not a name that docker takes: see below
    [InlineData("10.0.0.1:5000/*", "10.0.0.1:5000/a", true)]
    [InlineData("10.0.0.1:5000/*", "10.0.0.10:5000/a", false)]
    [InlineData("team/*", "evil.example/team/x", false)]
    [InlineData("*/case", "UPPER/case", false)]
    [InlineData("library/*", "3f5a1c9e0b12", false)]
    [InlineData("library/*", "sha256:3f5a1c9e0b12", false)]
    public void Images_are_compared_as_docker_reads_them(string pattern, string image, bool allowed) =>
        Assert.Equal(allowed, ImagePattern.Allows(pattern, image));

    [Theory]
    [InlineData("ghcr.io/team/../evil/x")]
    [InlineData("a b")]
    [InlineData("-x")]
    [InlineData("x\ny")]
    [InlineData("http://x/y")]
    public void Names_that_are_no_images_are_refused(string image) =>
        Assert.Throws<LaunchException>(() =>
            Launcher.Check(Launches.Resources, new LaunchConfig { DockerImage = image }, new LaunchOptions())
        );

    [Fact]
    public void Limits_of_a_container_are_lifted_only_by_its_admin()
    {
        static CreateContainerParameters Apply(string arguments, params string[] extra)
        {
            var container = new CreateContainerParameters { HostConfig = new HostConfig(), Env = [] };
            DockerArguments.Wall(container.HostConfig, false);
            DockerArguments.Apply(container, DockerArguments.Canonical((JsonObject)JsonNode.Parse(arguments)!), extra);
            return container;
        }

        foreach (
            var bad in new[]
            {
                """{"pids-limit":-1}""",
                """{"pids-limit":0}""",
                """{"pids_limit":100000}""",
                """{"memory-swap":"-1"}""",
                """{"memory":"0"}""",
                """{"memory":"99999999999999t"}""",
                """{"cpus":"Infinity"}""",
                """{"cpus":"NaN"}""",
                """{"cpus":0}""",
                """{"cpus":-1}""",
                """{"cpu-quota":-1}""",
                """{"cpu-period":0}""",
                """{"cpu-shares":-2}""",
                """{"shm-size":"-1g"}""",
                """{"ulimit":["nofile=-1"]}""",
                """{"ulimit":["nofile=9999999"]}""",
                """{"ulimit":["rtprio=99"]}""",
                """{"ulimit":["nice=40"]}""",
                """{"ulimit":["core=99999999999999999999"]}""",
                """{"security-opt":"seccomp=unconfined"}""",
                """{"cap-add":"SYS_ADMIN"}""",
                """{"network":"host"}""",
                """{"pid":"host"}""",
                """{"userns":"host"}""",
                """{"entrypoint":"sh"}""",
                """{"tmpfs":"/x"}""",
                """{"mount":"type=bind,src=/,dst=/x"}""",
                """{"volumes-from":"x"}""",
                """{"cgroup-parent":"/"}""",
                """{"runtime":"x"}""",
                """{"restart":"always"}""",
            }
        )
        {
            Assert.StartsWith(
                "DockerArgument",
                Assert.Throws<LaunchException>(() => Apply(bad)).ErrorId,
                StringComparison.Ordinal
            );
        }

        Assert.Equal(100, Apply("""{"pids-limit":100}""").HostConfig.PidsLimit);
        Assert.Equal(-1, Apply("""{"pids-limit":-1}""", "pids-limit").HostConfig.PidsLimit);
        Assert.Equal(-1, Apply("""{"memory-swap":"-1"}""", "memory-swap").HostConfig.MemorySwap);
        Assert.Equal(
            ["core", "rtprio"],
            Apply("""{"ulimit":["rtprio=9"]}""", "ulimit").HostConfig.Ulimits.Select(u => u.Name)
        );
        Assert.Equal(["NET_RAW"], Apply("""{"cap-add":"NET_RAW"}""", "cap-add").HostConfig.CapAdd);
        Assert.Equal(
            "seccomp=unconfined is refused",
            Refusal("""{"security-opt":"seccomp=unconfined"}""", "security-opt")
        );
        Assert.Equal(
            ["no-new-privileges=false"],
            Apply("""{"security-opt":"no-new-privileges=false"}""", "security-opt").HostConfig.SecurityOpt
        );

        static string Refusal(string arguments, string extra) =>
            Assert.Throws<LaunchException>(() => Apply(arguments, extra)).ErrorId == "DockerArgumentInvalid"
                ? "seccomp=unconfined is refused"
                : "";
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(3221225477, -1073741819)]
    [InlineData(-1073741819, -1073741819)]
    [InlineData(4294967295, -1)]
    [InlineData(4294967296, int.MaxValue)]
    [InlineData(long.MinValue, int.MaxValue)]
    [InlineData(long.MaxValue, int.MaxValue)]
    [InlineData(137, 137)]
    public void Only_exit_code_0_is_a_success(long code, int folded) => Assert.Equal(folded, ExitCodes.Fold(code));

    [Fact]
    public async Task A_windows_exit_code_is_a_failure_wherever_it_is_reported()
    {
        Assert.Equal("-1073741819 (0xC0000005)", ExitCodes.Show(-1073741819));
        await using var place = await Place.CreateAsync();
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
        );
        (string Code, string State)[] codes =
        [
            ("3221225477", "failed"),
            ("-1073741819", "failed"),
            ("4294967296", "failed"),
            ("1e30", "failed"),
            ("0.5", "failed"),
            ("0", "finished"),
        ];
        for (var i = 0; i < codes.Length; i++)
        {
            var path = new RunPath("local", "hostile", $"run{i}");
            await place.Connection.Api.UpsertRunAsync(new RunUpsert(path.Id, path.Entity, path.Project), default);
            using var content = new StringContent(
                $$"""{"complete":true,"exitcode":{{codes[i].Code}}}""",
                Encoding.UTF8,
                "application/json"
            );
            using var answer = await client.PostAsync(
                new Uri($"{place.Url}/files/local/hostile/run{i}/file_stream"),
                content
            );
            Assert.True(answer.IsSuccessStatusCode, codes[i].Code);
            Assert.Equal(codes[i].State, await place.Connection.Api.RunStateAsync(path, default));
        }

        // An agent's report goes there and comes back.
        await place.PushAsync(Spec("file:///x"));
        var api = await place.Connection.Api.ProtocolAsync(default);
        var item = (await api.PopAsync("local", Project, "q", null, default))!;
        Assert.True(await api.AckAsync(item.Id, "r", default));
        await api.ReportEndAsync(
            new ItemEnd(item.Id, "FAILED", new RunPath("local", Project, "r"))
            {
                ExitCode = -1073741819,
                Message = "x",
                Stage = "run",
            },
            default
        );
        Assert.Equal(("FAILED", -1073741819), (place.Items()[0].State, place.Items()[0].Code));
        var queue = await place.Connection.Queues.GetAsync("local", Project, "q", null, default);
        Assert.Equal(-1073741819, (await place.Connection.Queues.ItemAsync(queue, item.Id, default))!.ExitCode);
    }

    [Fact]
    public void Of_a_stop_and_a_drain_the_stop_counts_in_either_order()
    {
        var folder = Fixture.NewFolder("markers");
        string? Asked(params bool[] drains)
        {
            foreach (var drain in drains)
            {
                AgentStore.AskStop(folder, drain);
            }

            var asked = AgentStore.TakeStop(folder);
            Assert.Null(AgentStore.TakeStop(folder));
            return asked;
        }

        Assert.Equal("drain", Asked(true));
        Assert.Equal("stop", Asked(false));
        Assert.Equal("stop", Asked(true, false));
        Assert.Equal("stop", Asked(false, true));
        Assert.Equal("stop", Asked(false, true, true));
        Assert.Equal("drain", Asked(true, true));
        Assert.Empty(Directory.EnumerateFiles(folder));
    }

    [Theory]
    [InlineData("drain stop")]
    [InlineData("stop drain")]
    [InlineData("server stop")]
    [InlineData("stop server")]
    [InlineData("server drain stop stop drain")]
    [InlineData("drain drain server server")]
    public async Task Asked_to_stop_and_to_drain_it_ends_once_and_nothing_is_left_running(string order)
    {
        await using var place = await Place.CreateAsync();
        var pid = Path.Combine(Fixture.NewFolder("stopping"), "pid");
        var uri = Repository(
            $"import os, time, sys\nopen({JsonSerializer.Serialize(pid)}, 'w').write(str(os.getpid()))\ntime.sleep(float(sys.argv[1]))\n"
        );
        var stops = order.Contains("stop", StringComparison.Ordinal);
        await place.PushAsync(Spec(uri, stops ? "60" : "3"), Spec(uri, "0"));
        using var agent = await place.AgentAsync("""{ "stop_grace_period": 1 }""");
        var running = agent.RunAsync();
        await place.UntilAsync(() => File.Exists(pid) && File.ReadAllText(pid).Length > 0);
        foreach (var word in order.Split(' '))
        {
            if (word == "server")
            {
                await (await place.Connection.Api.ProtocolAsync(default)).StopAgentAsync(agent.AgentId!, default);
            }
            else
            {
                AgentStore.AskStop(agent.Folder, word == "drain");
            }
        }

        var code = await running.WaitAsync(TimeSpan.FromSeconds(40));
        Assert.Equal(stops ? LaunchAgent.ExitStoppedRuns : LaunchAgent.ExitStopped, code);
        Assert.Equal([stops ? "STOPPED" : "FINISHED", "PENDING"], place.Items().Select(i => i.State));
        Assert.Single(place.Events, e => e.Kind == AgentEventKind.AgentStopped);
        var process = $"/proc/{await File.ReadAllTextAsync(pid)}/cmdline";
        Assert.True(!File.Exists(process) || (await File.ReadAllTextAsync(process)).Length == 0);
    }

    [Fact]
    public async Task Of_agents_of_one_name_that_start_in_the_same_moment_one_starts()
    {
        for (var round = 0; round < 5; round++)
        {
            var name = "same-" + Guid.NewGuid().ToString("n")[..6];
            var gates = await Task.WhenAll(
                Enumerable
                    .Range(0, 8)
                    .Select(_ =>
                        Task.Run(() =>
                        {
                            try
                            {
                                return AgentStore.Of(new LaunchContext()).Enter(name).Lock;
                            }
                            catch (LaunchException e) when (e.ErrorId == "AgentRunning")
                            {
                                return null;
                            }
                        })
                    )
            );
            Assert.Single(gates, g => g is not null);
            gates.ToList().ForEach(g => g?.Dispose());
        }
    }

    [Fact]
    public async Task A_copy_of_an_agents_folder_runs_nothing_a_second_time()
    {
        await using var place = await Place.CreateAsync();
        var ran = Path.Combine(Fixture.NewFolder("copied"), "ran");
        var uri = Repository(
            $"import sys, time\nopen({JsonSerializer.Serialize(ran)}, 'a').write(sys.argv[1])\ntime.sleep(3)\n"
        );
        await place.PushAsync(Spec(uri, "a"), Spec(uri, "b"));
        using var first = await place.AgentAsync("""{ "max_jobs": 2, "stop_when_empty": true }""");
        var running = first.RunAsync();
        await place.UntilAsync(() => first.Journal.Entries().Count == 2);

        // Copied at once: its items are popped, claimed or being prepared.
        var copy = first.Folder + "-copy";
        Fixture.CopyFolder(Path.Combine(first.Folder, "items"), Path.Combine(copy, "items"));
        using var second = await place.AgentAsync(
            $$"""{ "name": "{{Path.GetFileName(copy)}}", "max_jobs": 2, "stop_when_empty": true }"""
        );
        await Task.WhenAll(running, second.RunAsync()).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal("ab", string.Concat((await File.ReadAllTextAsync(ran)).Order()));
        Assert.Equal(["FINISHED", "FINISHED"], place.Items().Select(i => i.State));
        Assert.Empty(second.Journal.Entries());
        Assert.Empty(first.Journal.Entries());
        Assert.Contains(place.Events, e => e.Message.Contains("seems to be a copy", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_journal_that_cannot_be_written_ends_no_agent_and_loses_no_item()
    {
        await using var place = await Place.CreateAsync();
        var ran = Path.Combine(Fixture.NewFolder("unwritable"), "ran");
        await place.PushAsync(Spec(Repository($"open({JsonSerializer.Serialize(ran)}, 'a').write('x')\n")));
        using var agent = await place.AgentAsync("""{ "max_runs": 1 }""");

        // A file where the folder must be: also root cannot write there.
        var items = Path.Combine(agent.Folder, "items");
        await File.WriteAllTextAsync(items, "");
        var running = agent.RunAsync();
        await place.UntilAsync(() =>
            place.Events.Any(e => e.Message.Contains("journal cannot be written", StringComparison.Ordinal))
        );
        Assert.False(running.IsCompleted);
        File.Delete(items);
        Assert.Equal(0, await running.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.Equal("x", await File.ReadAllTextAsync(ran));
        Assert.Equal("FINISHED", place.Items()[0].State);
    }

    [Fact]
    public async Task A_scheduler_is_no_way_around_the_policy()
    {
        await using var place = await Place.CreateAsync();
        var marker = Path.Combine(Fixture.NewFolder("scheduler"), "ran");
        JsonObject Scheduler(params string[] entry)
        {
            var spec = Spec("placeholder-uri-scheduler");
            spec["overrides"]!["entry_point"] = new JsonArray([.. entry.Select(e => (JsonNode?)JsonValue.Create(e))]);
            return spec;
        }

        await place.PushAsync(
            Scheduler("sh", "-c", "touch " + marker),
            Scheduler("touch", marker, "x"),
            Scheduler("/bin/wandb", "scheduler", "x"),
            Scheduler("wandb", "launch-agent", "x"),
            Scheduler("wandb", "scheduler")
        );
        await place.RunAsync("""{ "stop_when_empty": true, "max_schedulers": -1 }""");
        Assert.All(place.Items(), i => Assert.Equal("FAILED", i.State));
        Assert.All(place.Items(), i => Assert.Contains("wandb scheduler", i.Error, StringComparison.Ordinal));
        Assert.False(File.Exists(marker));
    }

    /// <summary>Stands between, and answers in the place of the server where it has something to say.</summary>
    private sealed class Proxy : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly HttpClient _client = new() { Timeout = Timeout.InfiniteTimeSpan };

        internal Proxy(string target)
        {
            using (var probe = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0))
            {
                probe.Start();
                Url = $"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}";
            }

            _listener.Prefixes.Add(Url + "/");
            _listener.Start();
            _ = Task.Run(async () =>
            {
                while (_listener.IsListening)
                {
                    var context = await _listener.GetContextAsync();
                    _ = Task.Run(() => HandleAsync(context, target));
                }
            });
        }

        internal string Url { get; }

        internal Func<JsonNode, string?> Answer { get; init; } = _ => null;

        public void Dispose()
        {
            _listener.Close();
            _client.Dispose();
        }

        private async Task HandleAsync(HttpListenerContext context, string target)
        {
            using var body = new MemoryStream();
            await context.Request.InputStream.CopyToAsync(body);
            var text = Encoding.UTF8.GetString(body.ToArray());
            byte[] answer;
            if (
                text.StartsWith("{\"", StringComparison.Ordinal)
                && JsonNode.Parse(text) is JsonObject asked
                && asked["query"] is not null
                && Answer(asked) is { } own
            )
            {
                answer = Encoding.UTF8.GetBytes(own);
            }
            else
            {
                using var request = new HttpRequestMessage(
                    new HttpMethod(context.Request.HttpMethod),
                    target + context.Request.RawUrl
                )
                {
                    Content = new ByteArrayContent(body.ToArray()),
                };
                foreach (var name in context.Request.Headers.AllKeys)
                {
                    if (
                        name
                            is not (
                                "Host"
                                or "Connection"
                                or "Content-Length"
                                or "Transfer-Encoding"
                                or "Accept-Encoding"
                            )
                        && !request.Headers.TryAddWithoutValidation(name!, context.Request.Headers[name])
                    )
                    {
                        request.Content.Headers.TryAddWithoutValidation(name!, context.Request.Headers[name]);
                    }
                }

                using var response = await _client.SendAsync(request);
                context.Response.StatusCode = (int)response.StatusCode;
                answer = await response.Content.ReadAsByteArrayAsync();
            }

            try
            {
                await context.Response.OutputStream.WriteAsync(answer);
                context.Response.Close();
            }
            catch (Exception e)
                when (e is HttpListenerException or ObjectDisposedException or InvalidOperationException)
            {
                // Whoever asked went away.
            }
        }
    }
}
