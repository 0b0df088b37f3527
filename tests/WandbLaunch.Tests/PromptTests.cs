using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.PowerShell;
using WandbLaunch.Python;

namespace WandbLaunch.Tests;

/// <summary>What a person at a prompt is told: pip in words, live lines, and what a stop left.</summary>
public sealed class PromptTests
{
    private const string Unreachable = """
        Looking in indexes: http://127.0.0.1:9/simple
        WARNING: Retrying (Retry(total=1, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/torch/
        WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/torch/
        ERROR: Could not find a version that satisfies the requirement torch==1 (from versions: none)
        ERROR: No matching distribution found for torch==1
        """;

    [Theory]
    [InlineData(Unreachable, "the package index cannot be reached ([Errno 111] Connection refused)")]
    [InlineData(
        "ERROR: Could not find a version that satisfies the requirement numpy==99 (from versions: 1.0, 2.0)\nERROR: No matching distribution found for numpy==99\n",
        "No matching distribution found for numpy==99"
    )]
    [InlineData(
        "Building wheel for x (setup.py): finished with status 'error'\n  error: command 'gcc' failed: No such file or directory\n  ERROR: Failed building wheel for x\nERROR: Could not build wheels for x, which is required to install pyproject.toml-based projects\n",
        "Could not build wheels for x, which is required to install pyproject.toml-based projects"
    )]
    [InlineData(
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
        "Could not install packages due to an OSError: [Errno 28] No space left on device"
    )]
    [InlineData(
        "ERROR: No matching distribution found for a==1\nERROR: Failed to install: a==1. During automated build process.\n",
        "No matching distribution found for a==1"
    )]
    [InlineData("Killed\n", "Killed")]
    [InlineData("", "pip said nothing")]
    public void Why_pip_failed_is_one_line(string output, string cause) => Assert.Equal(cause, PipOutput.Cause(output));

    // The index was reached in the end: what is missing is missing.
    [Fact]
    public void A_connection_that_broke_once_is_not_blamed_for_all() =>
        Assert.Equal(
            "No matching distribution found for torch==1",
            PipOutput.Cause(
                Unreachable.Replace("(from versions: none)", "(from versions: 2.0)", StringComparison.Ordinal)
            )
        );

    [Fact]
    public void What_pip_does_is_told_in_words_and_its_retries_are_counted()
    {
        var told = new List<string>();
        var output = new PipOutput(new CallbackProgress(p => told.Add(p.Text)));
        const string Text = """
            Collecting torch==2.0 (from -r list.txt (line 1))
              Downloading http://127.0.0.1/packages/torch-2.0-py3-none-any.whl (700 MB)
            Collecting torch==2.0 (from -r list.txt (line 1))
            Processing /wheels/tiny-1.0-py3-none-any.whl (from -r list.txt (line 2))
            Requirement already satisfied: wheel in /usr/lib
            WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'X': /simple/a/
            WARNING: Retrying (Retry(total=3, connect=None)) after connection broken by 'X': /simple/a/
            Building wheels for collected packages: tiny
              Building wheel for tiny (setup.py): started
            Installing collected packages: numpy, tiny, torch
            Successfully installed numpy-1 tiny-1 torch-2

            """;

        // In pieces of any length.
        foreach (var piece in Text.Chunk(7))
        {
            output.Add(new string(piece));
        }

        Assert.Equal(
            [
                "collecting torch==2.0",
                "downloading torch-2.0-py3-none-any.whl (700 MB)",
                "collecting torch==2.0",
                "collecting tiny-1.0-py3-none-any.whl",
                "the package index does not answer, trying again (1)",
                "the package index does not answer, trying again (2)",
                "building tiny",
                "installing 3 packages",
            ],
            told
        );
    }

    [Fact]
    public void The_line_of_a_run_has_what_it_printed_last()
    {
        var line = new RunLines((_, _, _) => { }).Begin(1, "x");
        Assert.Matches(@"^0:\d\d$", line.Status);
        foreach (
            var (said, shown) in new[]
            {
                ("epoch 1", "epoch 1"),
                (" loss 0.5\n", "epoch 1 loss 0.5"),
                ("\n  \n", "epoch 1 loss 0.5"),
                (" 10%|#   |\r 20%|##  |", "20%|##  |"),
                ("\r\n\u001b[31mred\u001b[0m\u0007 and \u001b]0;title\u0007plain", "red and plain"),
            }
        )
        {
            line.Said(Encoding.UTF8.GetBytes(said));
            Assert.Equal(shown, line.Status[(line.Status.IndexOf(' ', StringComparison.Ordinal) + 1)..]);
        }

        line.Said(Encoding.UTF8.GetBytes(new string('x', 100_000)));
        Assert.InRange(line.Status.Length, 100, 500);
    }

    [Fact]
    public void A_stop_says_what_it_stopped_and_what_to_type()
    {
        static LaunchedRun Run(int i) =>
            new()
            {
                Id = $"run{i}",
                Source = "./train",
                Resource = "local-process",
                State = LaunchState.Stopped,
            };

        Assert.Equal(
            [
                "Stopped the run run1 of ./train. What it printed: Receive-WandbLaunchLog run1",
                "To launch it again, with the options of before: Get-WandbLaunch run1 | Start-WandbLaunch",
            ],
            StartWandbLaunchCommand.StoppedLines([Run(1)], [], 1)
        );
        Assert.Equal(
            [
                "Stopped 2 runs: run1, run2",
                "To launch them again, with the options of before: Get-WandbLaunch run1, run2 | Start-WandbLaunch -ThrottleLimit 4",
                "Not started yet: train --n 3",
            ],
            StartWandbLaunchCommand.StoppedLines([Run(1), Run(2)], ["train --n 3"], 4)
        );
        Assert.Equal(
            [
                "Stopped 12 runs: run0, run1, run2, run3, run4, run5, run6, run7, run8, run9 and 2 more",
                "To launch them again, with the options of before: Get-WandbLaunch -State Stopped | Select-Object -First 12 | Start-WandbLaunch -ThrottleLimit 12",
            ],
            StartWandbLaunchCommand.StoppedLines([.. Enumerable.Range(0, 12).Select(Run)], [], 12)
        );
    }
}
