using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using FsCheck;
using FsCheck.Fluent;
using WandbLaunch.Foundation;
using WandbLaunch.Import;
using WandbLaunch.Model;

namespace WandbLaunch.Tests;

/// <summary>Documents that are made to end, fill or hang whoever reads them.</summary>
[Collection(SessionCollection.Name)]
public sealed class HostileConfigTests : IClassFixture<HostileConfigTests.Window>
{
    private readonly Shell _shell;

    public HostileConfigTests(Window window) => _shell = window.Shell;

    public sealed class Window : IDisposable
    {
        public Shell Shell { get; } = new(connect: false);

        public void Dispose() => Shell.Dispose();
    }

    // A stack overflow ends the test's own process: that this returns at all is the first proof.
    private static LaunchException Refused(Action action)
    {
        var clock = Stopwatch.StartNew();
        var error = Assert.Throws<LaunchException>(action);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), $"{clock.Elapsed}: {error.Message}");
        Assert.True(error.Message.Length < 1000, error.Message);
        return error;
    }

    public static TheoryData<string> Yaml =>
        ["circle", "circleInList", "flow", "flowMaps", "block", "indent", "laughs", "laughsOfText", "long", "many"];

    private static string Document(string name) =>
        name switch
        {
            "circle" => "uri: x\nrun_config: &a\n  b: *a\n",
            "circleInList" => "uri: x\nargs: &a [1, [2, *a]]\n",
            "flow" => "a: " + new string('[', 20_000),
            "flowMaps" => string.Concat(Enumerable.Repeat("{a: ", 20_000)),
            "block" => string.Concat(Enumerable.Repeat("- ", 20_000)) + "x",
            "indent" => string.Concat(Enumerable.Range(0, 2_000).Select(i => new string(' ', i) + "a:\n")),
            "laughs" => "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
                + string.Concat(
                    Enumerable
                        .Range(1, 12)
                        .Select(i => $"a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 10))}]\n")
                ),
            "laughsOfText" => $"t: &t {new string('x', 1_000_000)}\nl:\n"
                + string.Concat(Enumerable.Repeat("- *t\n", 10_000)),
            "long" => "a: " + new string('x', (16 << 20) + 1),
            "many" => string.Concat(Enumerable.Range(0, 1_100_000).Select(i => "- 1\n")),
            _ => throw new ArgumentOutOfRangeException(nameof(name)),
        };

    [Theory]
    [MemberData(nameof(Yaml))]
    public void A_YAML_bomb_is_one_clear_error_wherever_YAML_is_read(string name)
    {
        var text = Document(name);
        Assert.Equal("ConfigInvalid", Refused(() => LaunchConfig.FromText(text, "the text")).ErrorId);
        var folder = Fixture.NewFolder("yaml");
        var file = Path.Combine(folder, "launch-config.yaml");
        File.WriteAllText(file, text);
        Assert.Equal(
            "YamlInvalid",
            Refused(() => Agents.AgentConfig.Resolve(new LaunchEnvironment(), file, [])).ErrorId
        );
    }

    [Fact]
    public void A_run_folder_with_a_circular_config_is_an_error_of_its_own()
    {
        var folder = Path.Combine(Fixture.NewFolder("yaml"), Path.GetFileName(Fixture.OfflineRun));
        Fixture.CopyFolder(Fixture.OfflineRun, folder);
        File.WriteAllText(Path.Combine(folder, "files", "config.yaml"), Document("circle"));
        using var shell = new Shell();
        shell.Fails($"Import-WandbRun '{folder}'", "YamlInvalid");
    }

    [Theory]
    [InlineData("{a: b}: c", "a map or a list as a key")]
    [InlineData("? [a, b]\n: c", "a map or a list as a key")]
    [InlineData("a: &x {b: 1}\n*x : 2", "a map or a list as a key")]
    [InlineData("a: 1\nb: 2\na: 3", "'a' stands there twice")]
    [InlineData("a: *nothing", "nothing is named &nothing")]
    [InlineData("a: 'open", "")]
    [InlineData("a: \"\\x\"", "")]
    [InlineData("%YAML 9.9\n---\n\t- x", "")]
    [InlineData("a: !<", "")]
    public void Broken_YAML_is_named(string text, string says) =>
        Assert.Contains(says, Refused(() => SafeYaml.Read(text, "it")).Message, StringComparison.Ordinal);

    [Fact]
    public void Aliases_and_types_of_YAML_are_read() =>
        Assert.Equal(
            """{"a":{"x":[1,2.5,null,true]},"b":{"x":[1,2.5,null,true]},"c":"007x","d":"12","e":"12","f":"1e999"}""",
            SafeYaml
                .Read(
                    "a: &a {x: [1, 2.5, ~, true]}\nb: *a\nc: 007x\nd: '12'\ne: !!str 12\nf: 1e999\n---\nsecond: 1",
                    "it"
                )!
                .ToJsonString()
        );

    [Theory]
    [InlineData("""{"uri":"a","uri":"b"}""", "'uri' stands there twice")]
    [InlineData("""{"uri":"a","\u0075ri":"b"}""", "'uri' stands there twice")]
    [InlineData("""{"overrides":{"args":{"lr":1,"lr":2}}}""", "'lr' in 'args' stands there twice")]
    [InlineData("""{"uri":"\ud800"}""", "surrogate")]
    [InlineData("""{"\udfff":1}""", "surrogate")]
    [InlineData("""{"uri":""", "")]
    public void Hostile_JSON_is_named(string text, string says)
    {
        var error = Refused(() => LaunchConfig.FromText(text, "the text"));
        Assert.Equal("ConfigInvalid", error.ErrorId);
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Deep_JSON_is_refused_and_what_is_stored_is_read_with_the_last_of_two_keys()
    {
        var deep = string.Concat(Enumerable.Repeat("""{"a":""", 20_000)) + "1" + new string('}', 20_000);
        Refused(() => LaunchConfig.FromText(deep, "the text"));
        Refused(() =>
            LaunchConfig.FromText(
                string.Concat(Enumerable.Repeat("""{"a":""", 49)) + "1" + new string('}', 49),
                "the text"
            )
        );
        Assert.Equal(
            """{"uri":"b","x":{"y":2}}""",
            JsonText.TolerantObject("""{"uri":"a","uri":"b","x":{"y":1,"y":2}}""")!.ToJsonString()
        );
        Assert.Null(JsonText.TolerantObject(deep));
        Assert.NotNull(JsonText.TolerantObject("""{"a\ud800":"\udc00"}"""));
        Assert.Contains("twice", JsonText.Fault("""{"a":1,"a":2}"""), StringComparison.Ordinal);
        Assert.Null(JsonText.Fault("""{"a":1}"""));
    }

    [Theory]
    [InlineData("$h = @{}; $h.self = $h; New-WandbLaunchConfig https://github.com/a/b -RunConfig $h")]
    [InlineData("$h = @{}; $h.a = $h; $h.b = $h; $h.c = @($h, $h); New-WandbLaunchConfig -Config $h")]
    [InlineData(
        "$l = [Collections.ArrayList]::new(); $null = $l.Add($l); $null = $l.Add($l); New-WandbLaunchConfig https://github.com/a/b -RunConfig @{ l = $l }"
    )]
    [InlineData(
        "$o = [pscustomobject]@{ uri = 'x' }; $o.psobject.Properties.Add([psnoteproperty]::new('self', $o)); $o | New-WandbLaunchConfig"
    )]
    [InlineData(
        "$h = @{ x = 1 }; foreach ($i in 1..10000) { $h = @{ a = $h } }; New-WandbLaunchConfig https://github.com/a/b -RunConfig $h"
    )]
    [InlineData(
        "$h = @{ x = 1 }; foreach ($i in 1..10000) { $h = @{ a = $h } }; New-WandbLaunchConfig https://github.com/a/b -ResourceArgs $h"
    )]
    [InlineData(
        "$h = @{ x = 1 }; foreach ($i in 1..10000) { $h = @{ a = $h } }; New-WandbLaunchConfig https://github.com/a/b -Argument $h"
    )]
    public void A_table_that_holds_itself_or_is_too_deep_is_refused(string script)
    {
        var clock = Stopwatch.StartNew();
        _shell.Fails(script, "ConfigInvalid");
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), clock.Elapsed.ToString());
    }

    [Fact]
    public void Random_configs_read_or_fail_with_a_named_error_and_valid_ones_come_back_the_same()
    {
        var seed = Seed();
        var keys = new[]
        {
            "uri",
            "job",
            "entity",
            "project",
            "name",
            "resource",
            "resource_args",
            "docker",
            "docker_image",
            "user_id",
            "args",
            "git",
            "version",
            "repo",
            "overrides",
            "run_config",
            "entry_point",
            "cuda",
            "run_id",
            "",
            "a\nb",
            "__proto__",
            "\uD800",
            "ünï",
            "x",
        };
        var texts = new[]
        {
            "",
            "x",
            "https://github.com/a/b",
            "-1",
            "\0",
            "\uDFFF\uD800",
            "🚀",
            "1e999",
            "NaN",
            "<<",
            "*a",
            "null",
            "\"",
            "99999999999999999999",
        };
        var random = new Random(seed);
        for (var n = 0; n < 1000; n++)
        {
            var node = new JsonObject();
            Fill(node, 0);
            var json = node.ToJsonString();
            Check(json);

            // Damaged: a character goes, comes, or is another one.
            var text = new StringBuilder(json);
            for (var i = random.Next(4); i >= 0 && text.Length > 2; i--)
            {
                var at = random.Next(text.Length);
                switch (random.Next(3))
                {
                    case 0:
                        text.Remove(at, 1);
                        break;
                    case 1:
                        text.Insert(at, "{}[]:,\"'&*!|>%-?\t\n #\\u0000"[random.Next(26)]);
                        break;
                    default:
                        text[at] = (char)random.Next(1, 0xFFFF);
                        break;
                }
            }

            Check(text.ToString());
            Check("--- \n" + text);
        }

        void Check(string document)
        {
            try
            {
                var once = LaunchConfig.FromText(document, "it").ToJson().ToJsonString();
                var twice = LaunchConfig.FromText(once, "it").ToJson().ToJsonString();
                Assert.True(once == twice, $"seed {seed}: {document}\n{once}\n{twice}");
            }
            catch (LaunchException e)
            {
                Assert.True(e.ErrorId.Length > 0 && e.Message.Length > 10, $"seed {seed}: {document}");
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"seed {seed}: {e}\n{document}");
            }
        }

        void Fill(JsonObject map, int depth)
        {
            for (var i = random.Next(6); i >= 0; i--)
            {
                map[keys[random.Next(keys.Length)]] = Value(depth);
            }
        }

        JsonNode? Value(int depth)
        {
            switch (random.Next(depth > 60 ? 5 : 8))
            {
                case 0:
                    return null;
                case 1:
                    return random.Next(2) == 0;
                case 2:
                    return random.NextInt64();
                case 3:
                    return random.NextDouble() * Math.Pow(10, random.Next(-300, 300));
                case 4:
                    return texts[random.Next(texts.Length)];
                case 5:
                    return new JsonArray([.. Enumerable.Range(0, random.Next(4)).Select(_ => Value(depth + 1))]);
                default:
                    var map = new JsonObject();
                    Fill(map, depth + 1);
                    return map;
            }
        }
    }

    [Fact]
    public void FsCheck_texts_as_values_and_keys_survive_JSON_and_YAML()
    {
        var seed = Seed();
        Prop.ForAll<string, string>(
                (key, value) =>
                {
                    if (
                        string.IsNullOrEmpty(key)
                        || value is null
                        || key.Any(char.IsSurrogate)
                        || value.Any(char.IsSurrogate)
                    )
                    {
                        return;
                    }

                    var json = new JsonObject
                    {
                        ["overrides"] = new JsonObject { ["run_config"] = new JsonObject { [key] = value } },
                    }.ToJsonString();
                    Assert.Equal(value, LaunchConfig.FromText(json, "it").RunConfig![key]!.GetValue<string>());
                    var fault = Record.Exception(() => SafeYaml.Read("[ " + key + value, "it"));
                    Assert.True(fault is null or LaunchException, fault?.ToString());
                }
            )
            .Check(Config.QuickThrowOnFailure.WithMaxTest(1000).WithReplay((ulong)seed, 1));
    }

    [Fact]
    public void Damaged_logs_are_read_in_part_or_fail_with_a_named_error_and_never_take_what_they_claim()
    {
        var seed = Seed();
        var random = new Random(seed);
        var whole = File.ReadAllBytes(Path.Combine(Fixture.OfflineRun, "run-22stxuh9.wandb"));
        var file = Path.Combine(Fixture.NewFolder("logs"), "run-x.wandb");
        var truncated = 0;
        for (var n = 0; n < 1000; n++)
        {
            var bytes = (byte[])whole.Clone();
            for (var i = random.Next(3); i >= 0; i--)
            {
                var at = 7 + random.Next(bytes.Length - 7);
                switch (random.Next(5))
                {
                    case 0:
                        bytes[at] ^= (byte)(1 << random.Next(8));
                        break;
                    case 1:
                        bytes = bytes[..Math.Max(at, 20)];
                        break;
                    case 2:
                        bytes.AsSpan(at, Math.Min(10, bytes.Length - at)).Fill(0xFF);
                        break;
                    case 3:
                        random.NextBytes(bytes.AsSpan(at, Math.Min(40, bytes.Length - at)));
                        break;
                    default:
                        // A length of 2 GB: f8 ff ff ff 07.
                        ((byte[])[0x8A, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0x07])
                            .AsSpan(0, Math.Min(7, bytes.Length - at))
                            .CopyTo(bytes.AsSpan(at));
                        break;
                }
            }

            if (n % 2 == 0)
            {
                Seal(bytes);
            }

            File.WriteAllBytes(file, bytes);
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                var rows = 0;
                var run = TransactionLog.Read(file, _ => rows++);
                truncated += run.Truncated ? 1 : 0;
                _ = run.Config.ToJsonString() + run.Summary.ToJsonString();
            }
            catch (LaunchException e)
            {
                Assert.Equal("TransactionLogInvalid", e.ErrorId);
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                File.WriteAllBytes(Path.Combine(Path.GetTempPath(), "wandblaunch-damaged.wandb"), bytes);
                Assert.Fail($"seed {seed}, log {n}: {e}");
            }

            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 64 << 20, $"seed {seed}, log {n}");
        }

        Assert.True(truncated > 300, $"{truncated} of 1,000 noticed (seed {seed})");
    }

    [Fact]
    public void A_log_whose_keys_are_20000_deep_is_cut_there()
    {
        var key = string.Concat(Enumerable.Repeat("\u0012\u0001a", 20_000));
        var item = Encoding.UTF8.GetBytes(key);
        var update = Field(1, item);
        var record = Field(5, update);
        using var log = new MemoryStream();
        log.Write(":W&B\0\0\0"u8);
        var at = 0;
        while (at < record.Length)
        {
            var left = 32768 - (int)(log.Length % 32768);
            var take = Math.Min(left - 7, record.Length - at);
            var last = at + take == record.Length;
            var head = new byte[7];
            BinaryPrimitives.WriteUInt16LittleEndian(head.AsSpan(4), (ushort)take);
            head[6] = (byte)(
                at == 0 ? (last ? 1 : 2)
                : last ? 4
                : 3
            );
            log.Write(head);
            log.Write(record, at, take);
            at += take;
        }

        var bytes = log.ToArray();
        Seal(bytes);
        var file = Path.Combine(Fixture.NewFolder("logs"), "run-x.wandb");
        File.WriteAllBytes(file, bytes);
        var run = TransactionLog.Read(file, _ => { });
        Assert.True(run.Truncated);
        Assert.Empty(run.Config);

        static byte[] Field(int number, byte[] content)
        {
            var stream = new MemoryStream();
            Varint(stream, (ulong)(number << 3 | 2));
            Varint(stream, (ulong)content.Length);
            stream.Write(content);
            return stream.ToArray();
        }

        static void Varint(Stream stream, ulong value)
        {
            for (; value > 127; value >>= 7)
            {
                stream.WriteByte((byte)(value | 128));
            }

            stream.WriteByte((byte)value);
        }
    }

    [Fact]
    public void A_damaged_log_is_imported_in_part_and_says_so()
    {
        var folder = Path.Combine(Fixture.NewFolder("damaged"), Path.GetFileName(Fixture.OfflineRun));
        Fixture.CopyFolder(Fixture.OfflineRun, folder);
        var log = Directory.EnumerateFiles(folder, "*.wandb").Single();
        var bytes = File.ReadAllBytes(log);
        bytes[^20] ^= 0x10;
        File.WriteAllBytes(log, bytes);
        File.WriteAllText(Path.Combine(folder, "files", "wandb-summary.json"), """{"loss": NaN}""");
        using var shell = new Shell();
        shell.Ok($"Import-WandbRun '{folder}' -Project damaged");
        Assert.Contains(shell.Warnings, w => w.Message.Contains("damaged", StringComparison.Ordinal));
        Assert.Contains(shell.Warnings, w => w.Message.Contains("not JSON", StringComparison.Ordinal));
    }

    // The right checksum for each piece, as an attacker would: CRC-32 of kind and content.
    private static void Seal(byte[] log)
    {
        for (var at = 7; at < log.Length; )
        {
            var left = 32768 - (at % 32768);
            if (left < 7)
            {
                at += left;
                continue;
            }

            if (at + 7 > log.Length)
            {
                return;
            }

            var length = BinaryPrimitives.ReadUInt16LittleEndian(log.AsSpan(at + 4));
            if (at + 7 + length > log.Length)
            {
                return;
            }

            var crc = 0xFFFFFFFFu;
            foreach (var value in log.AsSpan(at + 6, 1 + length))
            {
                crc ^= value;
                for (var bit = 0; bit < 8; bit++)
                {
                    crc = (crc & 1) == 1 ? 0xEDB88320 ^ (crc >> 1) : crc >> 1;
                }
            }

            BinaryPrimitives.WriteUInt32LittleEndian(log.AsSpan(at), ~crc);
            at += 7 + length;
        }
    }

    private static int Seed()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_SEED"), out var given)
            ? given
            : Random.Shared.Next(1, int.MaxValue);
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed} (WANDBLAUNCH_TEST_SEED)");
        return seed;
    }
}
