using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;

namespace WandbLaunch.WindowsTests;

/// <summary>Programs of Windows, launched by the cmdlets: what reaches them, and what comes back.</summary>
public sealed class LaunchTests
{
    [Fact]
    public void Words_reach_a_program_as_they_were_given()
    {
        string[] words =
        [
            "plain",
            "two words",
            "",
            "\"quoted\"",
            "half \" quote",
            @"C:\dir with blank\",
            @"back\\slashes\\\",
            @"\\server\share\",
            "a\\\"b",
            "%PATH%",
            "%CD%&echo no",
            "^caret|pipe>file<in",
            "!bang! $var `tick`",
            "'single'",
            "\u00fcml\u00e4ut \u4e2d\u6587 \ud83d\ude80",
            "*.*",
            "--lr=0.1",
            "@file",
            "tab\there",
        ];
        var run = Windows.Launch(["args", .. words]);
        Assert.Equal((LaunchState.Finished, 0), (run.State, run.ExitCode));
        Assert.Equal(words, Windows.LinesOf(run));
    }

    [Fact]
    public void Thirty_thousand_characters_pass_and_more_than_windows_takes_is_said()
    {
        var word = new string('x', 30_000);
        Assert.Equal([word], Windows.LinesOf(Windows.Launch(["args", word])));
        var failed = Windows.Launch(["args", word, word]);
        Assert.Equal((LaunchState.Failed, "CommandTooLarge"), (failed.State, failed.ErrorId));
        Assert.Contains("32,767", failed.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("3", 3)]
    [InlineData("137", 137)]
    [InlineData("256", 256)]
    [InlineData("2147483647", int.MaxValue)]
    [InlineData("3221225477", unchecked((int)0xC0000005))]
    [InlineData("4294967295", -1)]
    public void Exit_codes_keep_their_bits(string said, int code)
    {
        var run = Windows.Launch(["exit", said]);
        Assert.Equal((LaunchState.Failed, code, null), (run.State, run.ExitCode, run.Reason));
    }

    [Fact]
    public void A_variable_is_one_whatever_its_case()
    {
        var folder = Windows.NewCode("environment");
        var run = Windows.Launch(
            folder,
            ["env"],
            "-Environment @{ wandb_project = 'mine'; My_Value = 'ä b=c'; Path = 'C:\\one;C:\\two' }"
        );
        var lines = Windows.LinesOf(run);
        var variables = lines.ToLookup(
            l => l[..l.IndexOf('=', 1)],
            l => l[(l.IndexOf('=', 1) + 1)..],
            StringComparer.OrdinalIgnoreCase
        );
        Assert.All(variables, v => Assert.Single(v));
        Assert.Equal("mine", variables["WANDB_PROJECT"].Single());
        Assert.Equal("ä b=c", variables["my_value"].Single());
        Assert.Equal(@"C:\one;C:\two", variables["PATH"].Single());
        Assert.Equal("True", variables["WANDB_LAUNCH"].Single());

        // What every program of Windows needs is still there.
        Assert.NotEmpty(variables["SystemRoot"]);
    }

    [Fact]
    public void A_program_runs_in_the_folder_of_its_code()
    {
        var run = Windows.Launch(["cwd"]);
        Assert.EndsWith(@"\src", Windows.LinesOf(run)[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Both_ends_of_lines_stay_in_the_log()
    {
        Assert.Equal("one\r\ntwo\nthree\r\n", Windows.LogOf(Windows.Launch(["crlf"])));
    }

    [Theory]
    [InlineData("run.cmd")]
    [InlineData("RUN.BAT")]
    public void A_script_of_cmd_is_refused_with_the_reason(string name)
    {
        var folder = Windows.NewCode("cmd");
        File.WriteAllText(Path.Combine(folder, name), "@echo off\r\necho %*\r\n");
        var error = Windows.Shell.Run(
            $"Start-WandbLaunch $folder -EntryPoint ./{name} -Argument 'a&calc' -Resource local-process -NoInstall -ErrorAction SilentlyContinue",
            ("folder", folder)
        );
        var run = error.Select(o => o.BaseObject).OfType<LaunchedRun>().SingleOrDefault();
        var said = run?.Reason ?? Windows.Shell.Errors[0].Exception.Message;
        Assert.Contains("script of cmd.exe", said, StringComparison.Ordinal);
    }

    [Fact]
    public void A_program_that_is_not_there_is_said()
    {
        var folder = Windows.NewCode("missing");
        Windows.Shell.Run(
            "Start-WandbLaunch $folder -EntryPoint ./nope.exe -Resource local-process -NoInstall -OutVariable made",
            ("folder", folder)
        );
        Assert.NotEmpty(Windows.Shell.Errors);
        Assert.Contains("there is no such file", Windows.Shell.Errors[0].Exception.Message, StringComparison.Ordinal);
    }

    // Puts a folder of programs, each the probe under another name, on PATH alone.
    private static T WithPrograms<T>(Func<string, T> act, params string[] names)
    {
        var folder = Windows.NewCode("programs");
        foreach (var name in names)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, name))!);
            File.Copy(Windows.Probe, Path.Combine(folder, name));
        }

        var path = Environment.GetEnvironmentVariable("PATH");
        try
        {
            Environment.SetEnvironmentVariable("PATH", folder);
            return act(folder);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
            Environment.SetEnvironmentVariable("PROBE_PYTHON", null);
        }
    }

    [Fact]
    public void A_script_of_powershell_is_run_by_the_pwsh_at_hand()
    {
        var folder = Windows.NewCode("ps1");
        File.WriteAllText(Path.Combine(folder, "Train Me.PS1"), "param($lr) $lr");
        WithPrograms(
            _ =>
            {
                var run = (LaunchedRun)
                    Windows
                        .Shell.Ok(
                            "Start-WandbLaunch $folder -EntryPoint '\"./Train Me.PS1\"' -Argument '-lr', '0.1 x' -Resource local-process -NoInstall",
                            ("folder", folder)
                        )
                        .Single(o => o.BaseObject is LaunchedRun)
                        .BaseObject;
                Assert.Equal(["-NoProfile|-NonInteractive|-File|./Train Me.PS1|-lr|0.1 x"], Windows.LinesOf(run));
                return 0;
            },
            "pwsh.exe"
        );
    }

    [Fact]
    public void A_script_of_a_unix_shell_is_refused_with_the_reason()
    {
        var folder = Windows.NewCode("sh");
        File.WriteAllText(Path.Combine(folder, "train.sh"), "echo hi\n");
        WithPrograms(
            _ =>
            {
                Windows.Shell.Run(
                    "Start-WandbLaunch $folder -EntryPoint ./train.sh -Resource local-process -NoInstall",
                    ("folder", folder)
                );
                Assert.Contains(
                    "Windows has none",
                    Assert.Single(Windows.Shell.Errors).Exception.Message,
                    StringComparison.Ordinal
                );
                return 0;
            },
            "bash.exe"
        );
    }

    [Fact]
    public void The_launcher_of_python_is_asked_for_the_version_first()
    {
        var (found, warning) = WithPrograms(
            folder =>
            {
                Environment.SetEnvironmentVariable("PROBE_PYTHON", "3.11\r\n" + Path.Combine(folder, "python.exe"));
                return Find("3.11.4");
            },
            "py.exe",
            "python.exe"
        );
        Assert.EndsWith(@"\python.exe", found, StringComparison.Ordinal);
        Assert.Null(warning);
    }

    [Fact]
    public void Another_version_is_taken_with_a_warning()
    {
        var (_, warning) = WithPrograms(
            folder =>
            {
                Environment.SetEnvironmentVariable("PROBE_PYTHON", "3.12\r\n" + Path.Combine(folder, "python.exe"));
                return Find("3.11");
            },
            "python.exe"
        );
        Assert.Contains("3.12", warning, StringComparison.Ordinal);
    }

    [Fact]
    public void A_python_with_its_version_in_its_name_is_found() =>
        Assert.EndsWith(
            @"\python3.11.exe",
            WithPrograms(_ => Find("3.11"), "python.exe", "python3.11.exe").Path,
            StringComparison.OrdinalIgnoreCase
        );

    [Fact]
    public void The_alias_of_the_store_is_no_python()
    {
        var error = WithPrograms(folder =>
        {
            var alias = Path.Combine(folder, "Microsoft", "WindowsApps");
            Directory.CreateDirectory(alias);
            File.WriteAllText(Path.Combine(alias, "python.exe"), "");
            Environment.SetEnvironmentVariable("PATH", alias);
            return Assert.Throws<LaunchException>(() => Find(null));
        });
        Assert.Equal("PythonNotFound", error.ErrorId);
        Assert.Contains("only opens the Microsoft Store", error.Message, StringComparison.Ordinal);
    }

    // To its end, before the variables are put back.
    private static (string Path, string? Warning) Find(string? version) =>
        Task.Run(() => PythonFinder.FindAsync(version, default)).GetAwaiter().GetResult();
}
