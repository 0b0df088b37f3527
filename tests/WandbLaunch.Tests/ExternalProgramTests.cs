using System.Diagnostics;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Programs of the machine, seen from what the system really did.</summary>
[Collection(ProcessCollection.Name)]
public sealed class ExternalProgramTests : IDisposable
{
    private static readonly string Python = ProgramPath.Find("python3") ?? ProgramPath.Find("python")!;

    private readonly string _folder = Directory.CreateTempSubdirectory("wandblaunch-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Words_arrive_as_they_are_and_no_shell_sees_them()
    {
        var mark = Path.Combine(_folder, "mark");
        string[] words =
        [
            "",
            " ",
            "plain",
            "with blank",
            "tab\tand\nline",
            "\"",
            "a\"b c\\\"d",
            "\\",
            "end\\",
            "end \\\\",
            "-flag",
            "--a=b c",
            $"$(touch {mark})",
            $"`touch {mark}`",
            $"; touch {mark}",
            $"| touch {mark}",
            "%PATH%",
            "$HOME",
            "*",
            "'",
            "ünï ☃ \u00a0\u0085",
        ];
        var result = await new ExternalProgram([
            Python,
            "-c",
            "import sys, json; print(json.dumps(sys.argv[1:]))",
            .. words,
        ]).RunAsync(Token);
        Assert.Equal(words, JsonSerializer.Deserialize<string[]>(result.Output));
        Assert.False(File.Exists(mark));
    }

    [Fact]
    public async Task Input_environment_folder_and_exit_code_are_what_was_asked()
    {
        Environment.SetEnvironmentVariable("WANDBLAUNCH_TEST_GONE", "1");
        var result = await new ExternalProgram(
            Python,
            "-c",
            "import os, sys; print(os.getcwd()); print(os.environ.get('WANDBLAUNCH_TEST_GONE')); print(os.environ['WANDBLAUNCH_TEST_NEW']); print(sys.stdin.read(), file=sys.stderr); sys.exit(3)"
        )
        {
            Input = "in ☃",
            WorkingFolder = _folder,
            Environment = new Dictionary<string, string?>
            {
                ["WANDBLAUNCH_TEST_GONE"] = null,
                ["WANDBLAUNCH_TEST_NEW"] = "new",
            },
        }.RunAsync(Token);
        Assert.Equal(3, result.ExitCode);
        Assert.Equal(
            [Path.GetFileName(_folder), "None", "new"],
            result.Output.Split('\n', StringSplitOptions.TrimEntries).Take(3).Select(l => Path.GetFileName(l))
        );
        Assert.Equal("in ☃", result.Error.Trim());
    }

    [Fact]
    public async Task A_program_that_reads_nothing_gets_a_large_input_without_harm()
    {
        var result = await new ExternalProgram(Python, "-c", "print('done')")
        {
            Input = new string('x', 10_000_000),
        }.RunAsync(Token);
        Assert.Equal("done", result.Output.Trim());
    }

    [Fact]
    public async Task Output_has_a_size()
    {
        var result = await new ExternalProgram(
            Python,
            "-c",
            "import sys\nfor i in range(200): sys.stdout.write('x' * 100000)\nprint('END')"
        )
        {
            Kept = 5000,
        }.RunAsync(Token);
        Assert.Equal(5000, result.Output.Length);
        Assert.EndsWith("END", result.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_character_in_pieces_over_both_streams_stays_whole()
    {
        var result = await new ExternalProgram(
            Python,
            "-c",
            """
            import sys, time
            for a, b in zip('☃ü'.encode(), '漢é'.encode()):
                sys.stdout.buffer.write(bytes([a])); sys.stdout.buffer.flush()
                sys.stderr.buffer.write(bytes([b])); sys.stderr.buffer.flush()
                time.sleep(0.05)
            """
        ).RunAsync(Token);
        Assert.Equal(("☃ü", "漢é"), (result.Output, result.Error));
    }

    // Starts a child of its own, writes both numbers, and stays.
    private static string[] Family(string path, bool detached = false) =>
        [
            Python,
            "-c",
            $"""
            import os, subprocess, sys, time
            child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session={(
                detached ? "True" : "False"
            )})
            print('started', flush=True)
            open(sys.argv[1] + '.new', 'w').write(f'{"{os.getpid()} {child.pid}"}')
            os.rename(sys.argv[1] + '.new', sys.argv[1])
            {(detached ? "pass" : "time.sleep(60)")}
            """,
            path,
        ];

    private static async Task<int[]> IdsAsync(string path)
    {
        while (!File.Exists(path))
        {
            await Task.Delay(20, Token);
        }

        return [.. (await File.ReadAllTextAsync(path, Token)).Split(' ').Select(int.Parse)];
    }

    private static bool Lives(int id)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            return !process.HasExited;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    private static async Task GoneAsync(int[] ids)
    {
        var clock = Stopwatch.StartNew();
        while (ids.Any(Lives) && clock.Elapsed < TimeSpan.FromSeconds(60))
        {
            await Task.Delay(20, Token);
        }

        Assert.DoesNotContain(ids, Lives);
    }

    [Fact]
    public async Task Cancelling_ends_the_program_and_its_children()
    {
        using var stop = new CancellationTokenSource();
        var path = Path.Combine(_folder, "ids");
        var run = new ExternalProgram(Family(path)).RunAsync(stop.Token);
        var ids = await IdsAsync(path);
        Assert.All(ids, id => Assert.True(Lives(id)));
        var clock = Stopwatch.StartNew();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), clock.Elapsed.ToString());
        await GoneAsync(ids);
    }

    [Fact]
    public async Task One_that_takes_too_long_is_ended_and_says_so()
    {
        var path = Path.Combine(_folder, "ids");
        var run = new ExternalProgram(Family(path)) { TimeLimit = TimeSpan.FromSeconds(3) }.RunAsync(Token);
        var ids = await IdsAsync(path);
        var error = await Assert.ThrowsAsync<LaunchException>(() => run);
        Assert.Equal(("ProgramTimeout", LaunchErrorCategory.OperationTimeout), (error.ErrorId, error.Category));
        await GoneAsync(ids);
    }

    [Fact]
    public async Task A_child_that_keeps_the_pipe_does_not_keep_the_answer()
    {
        var path = Path.Combine(_folder, "ids");
        var clock = Stopwatch.StartNew();
        var result = await new ExternalProgram(Family(path, true)).RunAsync(Token);
        var ids = await IdsAsync(path);
        try
        {
            Assert.Equal((0, "started"), (result.ExitCode, result.Output.Trim()));
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), clock.Elapsed.ToString());
            Assert.True(Lives(ids[1]));
        }
        finally
        {
            Process.GetProcessById(ids[1]).Kill();
        }
    }

    [Fact]
    public async Task What_is_not_on_PATH_is_not_run_also_not_from_the_working_folder()
    {
        var mark = Path.Combine(_folder, "mark");
        var program = Path.Combine(_folder, "wandblaunch-no-such-program");
        await File.WriteAllTextAsync(program, $"#!/bin/sh\ntouch '{mark}'\n", Token);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            new ExternalProgram("wandblaunch-no-such-program") { WorkingFolder = _folder }.RunAsync(Token)
        );
        Assert.Equal("ProgramNotStarted", error.ErrorId);
        error = await Assert.ThrowsAsync<LaunchException>(() =>
            new ExternalProgram(Path.Combine(_folder, "neither")).RunAsync(Token)
        );
        Assert.Equal("ProgramNotStarted", error.ErrorId);
        Assert.False(File.Exists(mark));
    }

    [Fact]
    public async Task What_it_says_in_an_error_holds_no_secret_that_went_in()
    {
        var program = new ExternalProgram(
            Python,
            "-c",
            "import os, sys; print(sys.stdin.read(), os.environ['WANDBLAUNCH_TEST_TOKEN'], 'https://me:hunter2@host/', file=sys.stderr)"
        )
        {
            Input = "password=sesame-open\n",
            Environment = new Dictionary<string, string?> { ["WANDBLAUNCH_TEST_TOKEN"] = "token-of-mine" },
        };
        var said = program.Tail((await program.RunAsync(Token)).Error, 5);
        Assert.DoesNotContain("sesame", said, StringComparison.Ordinal);
        Assert.DoesNotContain("token-of-mine", said, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", said, StringComparison.Ordinal);
        Assert.Contains("host/", said, StringComparison.Ordinal);
    }
}

/// <summary>Logins of registries, by real helpers on PATH.</summary>
[Collection(ProcessCollection.Name)]
public sealed class RegistryLoginTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("wandblaunch-").FullName;
    private readonly string? _path = Environment.GetEnvironmentVariable("PATH");
    private readonly string? _config = Environment.GetEnvironmentVariable("DOCKER_CONFIG");

    public void Dispose()
    {
        Environment.SetEnvironmentVariable("PATH", _path);
        Environment.SetEnvironmentVariable("DOCKER_CONFIG", _config);
        Directory.Delete(_folder, true);
    }

    private void Helper(string program)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the helper is a script");
        var path = Path.Combine(_folder, "docker-credential-test");
        File.WriteAllText(path, $"#!{ProgramPath.Find("python3")}\n{program}\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        File.WriteAllText(Path.Combine(_folder, "config.json"), """{"credHelpers":{"registry.test":"test"}}""");
        Environment.SetEnvironmentVariable("PATH", $"{_folder}{Path.PathSeparator}{_path}");
        Environment.SetEnvironmentVariable("DOCKER_CONFIG", _folder);
    }

    [Fact]
    public async Task The_helper_is_asked_for_the_registry_and_believed()
    {
        Helper(
            "import json, sys; print(json.dumps({'Username': 'me', 'Secret': sys.argv[1] + ' ' + sys.stdin.read()}))"
        );
        var login = await RegistryLogin.ForAsync(
            new LaunchEnvironment(),
            "registry.test/a/b:1",
            TestContext.Current.CancellationToken
        );
        Assert.Equal(("me", "get registry.test"), (login!.Username, login.Password));
    }

    [Fact]
    public async Task A_helper_that_waits_for_somebody_ends_with_Ctrl_C()
    {
        var ids = Path.Combine(_folder, "id");
        Helper($"import os, time; open('{ids}', 'w').write(str(os.getpid())); time.sleep(60)");
        using var stop = new CancellationTokenSource();
        var asking = RegistryLogin.ForAsync(new LaunchEnvironment(), "registry.test/a/b:1", stop.Token);
        while (!File.Exists(ids) || new FileInfo(ids).Length == 0)
        {
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }

        var id = int.Parse(
            await File.ReadAllTextAsync(ids, TestContext.Current.CancellationToken),
            System.Globalization.CultureInfo.InvariantCulture
        );
        var clock = Stopwatch.StartNew();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), clock.Elapsed.ToString());
        Assert.Throws<ArgumentException>(() => Process.GetProcessById(id));
    }

    [Theory]
    [InlineData("import sys; sys.exit(1)")]
    [InlineData("print('not json')")]
    [InlineData("print('{}')")]
    public async Task A_helper_that_has_nothing_is_no_login(string program)
    {
        Helper(program);
        Assert.Null(
            await RegistryLogin.ForAsync(
                new LaunchEnvironment(),
                "registry.test/a/b:1",
                TestContext.Current.CancellationToken
            )
        );
    }
}
