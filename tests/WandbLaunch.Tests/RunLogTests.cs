#pragma warning disable CA1416 // Modes are looked at where they exist: each test that does skips Windows.
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.Tests;

/// <summary>The log of a run: its limit, characters in pieces, and programs that are no Python.</summary>
public sealed class RunLogTests
{
    private static string NewPath() => Path.Combine(Fixture.NewFolder("log"), "output.log");

    [Theory]
    [InlineData(4096, 1_000_000, 100)]
    [InlineData(100_000, 1_000_000, 7919)]
    [InlineData(100_000, 2_000_000, 65536)]
    [InlineData(100_000, 90_000, 1000)]
    public void A_limited_log_is_the_beginning_and_the_end(int limit, int printed, int piece)
    {
        var path = NewPath();
        var output = new StringBuilder();
        for (var i = 0; output.Length < printed; i++)
        {
            output.Append("line ").Append(i).Append(" äö🙂\n");
        }

        var bytes = Encoding.UTF8.GetBytes(output.ToString());
        var pieces = new Utf8Pieces();
        using var log = new RunLog(path, limit, true);
        for (var at = 0; at < bytes.Length; at += piece)
        {
            log.Write(pieces.Add(bytes.AsSpan(at, Math.Min(piece, bytes.Length - at))));
        }

        Assert.True(log.TryComplete());
        Assert.True(log.TryComplete());
        var text = File.ReadAllText(path);
        Assert.DoesNotContain('\uFFFD', text);
        Assert.Equal(
            "output.log",
            Path.GetFileName(Assert.Single(Directory.EnumerateFiles(Path.GetDirectoryName(path)!)))
        );
        if (bytes.Length < limit * 95 / 100)
        {
            Assert.Equal((output.ToString(), false), (text, log.IsTruncated));
            return;
        }

        Assert.True(log.IsTruncated);
        Assert.StartsWith(output.ToString(0, limit / 4), text, StringComparison.Ordinal);
        Assert.EndsWith(output.ToString(output.Length - (limit / 8), limit / 8), text, StringComparison.Ordinal);
        Assert.InRange(new FileInfo(path).Length, limit / 2, limit + 200);
        Assert.Contains("-MaxLogSize", Assert.Single(log.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void A_character_that_comes_in_pieces_between_those_of_another_stream_is_whole()
    {
        var wanted = "aä€🙂z";
        var bytes = Encoding.UTF8.GetBytes(wanted);
        Utf8Pieces[] pieces = [new(), new()];
        var texts = new[] { "", "" };
        foreach (var b in bytes)
        {
            for (var stream = 0; stream < 2; stream++)
            {
                texts[stream] += pieces[stream].AddText([b]);
            }
        }

        Assert.Equal([wanted, wanted], texts);
        Assert.Empty(pieces[0].Rest());
    }

    [Fact]
    public void What_is_no_text_goes_through_unchanged()
    {
        var random = new Random(20261124);
        for (var round = 0; round < 200; round++)
        {
            var bytes = new byte[random.Next(1, 300)];
            random.NextBytes(bytes);
            var pieces = new Utf8Pieces();
            var got = new List<byte>();
            for (var at = 0; at < bytes.Length; )
            {
                var take = random.Next(1, Math.Min(8, bytes.Length - at) + 1);
                got.AddRange(pieces.Add(bytes.AsSpan(at, take)));
                at += take;
            }

            got.AddRange(pieces.Rest());
            Assert.Equal(bytes, got);
        }
    }

    [Fact]
    public void A_log_that_cannot_be_opened_goes_on_when_it_can()
    {
        var path = NewPath();
        Directory.CreateDirectory(path);
        using var log = new RunLog(path, null, false);
        log.Write("lost"u8);
        Assert.True(log.IsTruncated);
        Directory.Delete(path);
        Thread.Sleep(300);
        log.Write("kept"u8);
        Assert.Matches(@"^\[wandb-launch: 4 bytes of output are missing here: .*\]\nkept$", File.ReadAllText(path));
    }

    [Theory]
    [InlineData("tool", false)]
    [InlineData("./tool", true)]
    [InlineData("sub/tool", true)]
    [InlineData("onpath", true)]
    [InlineData("./onpath", false)]
    [InlineData("plain", false)]
    public void A_program_is_looked_up_on_the_path_or_in_the_codes_folder(string program, bool found)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "modes of Unix");
        var code = Fixture.NewFolder("code");
        var bin = Fixture.NewFolder("bin");
        Directory.CreateDirectory(Path.Combine(code, "sub"));
        foreach (
            var file in new[]
            {
                Path.Combine(code, "tool"),
                Path.Combine(code, "sub", "tool"),
                Path.Combine(bin, "onpath"),
                Path.Combine(bin, "plain"),
            }
        )
        {
            File.WriteAllText(file, "#!/bin/sh\n");
            File.SetUnixFileMode(
                file,
                (UnixFileMode)(file.EndsWith("plain", StringComparison.Ordinal) ? 0x180 : 0x1C0)
            );
        }

        if (found)
        {
            Assert.True(File.Exists(ProgramPath.Resolve(program, code, bin + ":relative", false)));
        }
        else
        {
            Assert.Equal(
                "ProgramNotStarted",
                Assert.Throws<LaunchException>(() => ProgramPath.Resolve(program, code, bin, false)).ErrorId
            );
        }
    }

    [Theory]
    [InlineData("build")]
    [InlineData("build.cmd")]
    [InlineData("./build.cmd")]
    [InlineData("other.BAT")]
    public void A_script_of_cmd_is_refused_on_Windows(string program)
    {
        var folder = Fixture.NewFolder("windows");
        File.WriteAllText(Path.Combine(folder, "build.cmd"), "");
        var error = Assert.Throws<LaunchException>(() => ProgramPath.Resolve(program, folder, folder, true));
        Assert.Equal("ProgramIsScript", error.ErrorId);
        Assert.Contains("cmd /c", error.Message, StringComparison.Ordinal);
    }
}
