using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>The records that are written property by property: as the serializer writes and reads them, so that no property is forgotten and older folders are read.</summary>
public sealed class RunTextTests
{
    private static readonly JsonSerializerOptions Serializer = new()
    {
        WriteIndented = true,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    private static readonly LaunchedRun Run = new()
    {
        Id = "abcd1234",
        RunId = "other",
        Name = "a \"name\" – ü <&>",
        Source = "https://github.com/me/train",
        Config = "{\"uri\":\"x\"}",
        Commit = new string('f', 40),
        Patched = true,
        Resource = "local-process",
        Image = "python:3.11",
        Command = ["python", "train.py", "--lr", "0.1", ""],
        Arguments = ["--lr", "0.1"],
        Entity = "me",
        Project = "p",
        Uri = "https://wandb.ai/me/p/runs/x",
        State = LaunchState.Stopping,
        ExitCode = -1073741819,
        Reason = "line\nline\t\u0001",
        ErrorId = "ProgramNotStarted",
        IsStuck = true,
        Restarts = 3,
        Agent = "box",
        OutOfMemory = true,
        Started = new DateTimeOffset(2026, 1, 2, 3, 4, 5, 678, TimeSpan.FromHours(2)),
        Finished = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        LogPath = "C:\\runs\\output.log",
        LogTruncated = true,
        Warnings = ["one", "two"],
        Handle = new RunHandle(RunHandle.Process, "12", "/sys/fs/cgroup/x"),
    };

    private static readonly RunSpec Spec = new()
    {
        Id = "abcd1234",
        Resource = "local-process",
        Command = ["python", "ü.py"],
        Arguments = ["--n", "1"],
        WorkingFolder = "/tmp/x y",
        Environment = new() { ["A"] = "1", ["B"] = "\"" },
        Image = "python:3.11",
        StopGraceSeconds = 30,
        MaxLogSize = 5_000_000_000,
        TimeLimit = TimeSpan.FromSeconds(90_061.5),
        StartLimit = TimeSpan.FromMinutes(5),
        StartBy = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.FromHours(-3)),
        Data = new JsonObject { ["KeepChildren"] = true, ["List"] = new JsonArray(1, "two", null) },
    };

    [Fact]
    public void A_launch_is_written_and_read_as_the_serializer_does_it()
    {
        AssertNothingIsLeftOut(Run);
        Assert.Equal(JsonSerializer.Serialize(Run, Serializer), LaunchedRunText.Write(Run));
        Assert.Equal(
            JsonSerializer.Serialize(Run, Serializer),
            JsonSerializer.Serialize(LaunchedRunText.Read(LaunchedRunText.Write(Run)), Serializer)
        );
    }

    [Fact]
    public void What_a_launch_does_not_say_is_as_it_always_was()
    {
        const string Least =
            """{"Source":"x","Unknown":[1,{"a":2}],"Id":"i","Resource":"r","ExitCode":null,"Warnings":null,"State":"running"}""";
        var read = LaunchedRunText.Read(Least);
        Assert.Equal(LaunchState.Running, read.State);
        Assert.Empty(read.Warnings);
        Assert.Null(read.ExitCode);
        Assert.Equal(JsonSerializer.Serialize(read, Serializer), LaunchedRunText.Write(read));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("""{"Id":"i","Source":"x"}""")]
    [InlineData("""{"Id":1,"Source":"x","Resource":"r"}""")]
    [InlineData("""{"Id":"i","Source":"x","Resource":"r","State":"Nonsense"}""")]
    [InlineData("""{"Id":"i","Source":"x","Resource":"r","Command":"text"}""")]
    [InlineData("""{"Id":"i","Source":"x","Resource":"r","ExitCode":99999999999}""")]
    [InlineData("""{"Id":"i","Source":"x","Resource":"r","Started":"yesterday"}""")]
    public void What_is_no_launch_is_refused_as_json(string text) =>
        Assert.ThrowsAny<JsonException>(() => LaunchedRunText.Read(text));

    [Fact]
    public void A_spec_is_written_and_read_as_the_serializer_does_it()
    {
        AssertNothingIsLeftOut(Spec);
        Assert.Equal(JsonSerializer.Serialize(Spec, Serializer), Spec.Write());
        Assert.Equal(Spec.Write(), RunSpec.Read(Spec.Write()).Write());
        Assert.Equal(Spec.Write(), RunSpec.Read(JsonSerializer.Serialize(Spec, Serializer)).Write());
    }

    [Fact]
    public void A_spec_of_before_has_its_resources_part_among_the_rest()
    {
        var read = RunSpec.Read(
            """{"Id":"i","Resource":"local-process","Command":["a"],"WorkingFolder":"/w","KeepChildren":true}"""
        );
        Assert.True((bool?)read.Data!["KeepChildren"]);
        Assert.Equal(10, read.StopGraceSeconds);
        Assert.Empty(read.Environment);
    }

    [Fact]
    public void Secrets_come_to_the_host_as_they_were_sent()
    {
        var read = HostProcess.ReadSecrets("""{"A":"x \u00fc \"","B":""}""");
        Assert.Equal(["A=x ü \"", "B="], read.Select(s => $"{s.Key}={s.Value}").Order(StringComparer.Ordinal));
        Assert.Empty(HostProcess.ReadSecrets("{}"));
    }

    // A property that is new has its default in the record above, and would be missed by what is compared.
    private static void AssertNothingIsLeftOut<T>(T value)
        where T : class
    {
        foreach (
            var property in typeof(T).GetProperties().Where(p => p.GetCustomAttribute<JsonIgnoreAttribute>() is null)
        )
        {
            var type = property.PropertyType;
            var none = type.IsValueType ? Activator.CreateInstance(type) : null;
            Assert.False(Equals(property.GetValue(value), none), $"{property.Name} is not in the test's record.");
        }
    }
}
