using System.Management.Automation;
using WandbLaunch.Model;
using WandbLaunch.Tests;

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
}
