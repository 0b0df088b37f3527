using System.Diagnostics;
using System.Management.Automation;
using System.Management.Automation.Runspaces;
using WandbLaunch.Foundation;
using WandbLaunch.PowerShell;

namespace WandbLaunch.Tests;

/// <summary>What every cmdlet has from its base class, seen from a real pipeline.</summary>
public sealed class AsyncCmdletTests
{
    private static System.Management.Automation.PowerShell New(string script)
    {
        var state = InitialSessionState.CreateDefault2();
        state.Commands.Add(new SessionStateCmdletEntry("Test-Work", typeof(TestWorkCommand), null));
        var runspace = RunspaceFactory.CreateRunspace(state);
        runspace.Open();
        var shell = System.Management.Automation.PowerShell.Create();
        shell.Runspace = runspace;
        shell.AddScript(script);
        return shell;
    }

    [Fact]
    public void Objects_come_in_order_and_more_than_the_queue_holds()
    {
        using var shell = New("1..3 | Test-Work -Do many");
        Assert.Equal(
            Enumerable.Range(1, 3).SelectMany(i => Enumerable.Range(0, 5000).Select(n => i * 10_000 + n)),
            shell.Invoke<int>()
        );
    }

    [Fact]
    public void One_bad_input_fails_alone()
    {
        using var shell = New("1, 2, 3 | Test-Work -Do odd");
        Assert.Equal([1, 3], shell.Invoke<int>());
        Assert.StartsWith("Even,", Assert.Single(shell.Streams.Error).FullyQualifiedErrorId, StringComparison.Ordinal);
        Assert.Equal(ErrorCategory.InvalidArgument, shell.Streams.Error[0].CategoryInfo.Category);
    }

    [Fact]
    public async Task What_background_work_says_late_is_dropped_without_harm()
    {
        TestWorkCommand.Late = new TaskCompletionSource<Exception?>();
        using var shell = New("1 | Test-Work -Do late");
        Assert.Equal([1], shell.Invoke<int>());
        Assert.Null(await TestWorkCommand.Late.Task);
        Assert.Empty(shell.Streams.Error);
    }

    [Fact]
    public async Task A_later_command_that_fails_ends_the_work()
    {
        TestWorkCommand.Ended = new TaskCompletionSource();
        using var shell = New("");
        shell.Commands.Clear();
        shell.AddScript(
            "function Select-First { begin { $n = 0 } process { $_; if (++$n -eq 3) { throw 'enough' } } }; 1 | Test-Work -Do forever | Select-First"
        );
        Assert.Throws<RuntimeException>(() => shell.Invoke());
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(5));
    }

    [Fact]
    public void Stop_ends_it_within_a_second()
    {
        using var shell = New("1 | Test-Work -Do wait");
        var running = shell.BeginInvoke();
        while (!TestWorkCommand.Waiting)
        {
            Thread.Sleep(10);
        }

        var clock = Stopwatch.StartNew();
        shell.Stop();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(1));
        Assert.True(running.IsCompleted);
        Assert.Equal(PSInvocationState.Stopped, shell.InvocationStateInfo.State);
    }

    [Fact]
    public void Questions_are_asked_on_the_pipelines_thread_and_answered()
    {
        using var shell = New("1, 2 | Test-Work -Do ask -WhatIf; 3 | Test-Work -Do ask -Confirm:$false");
        Assert.Equal([3], shell.Invoke<int>());
    }

    [Fact]
    public void An_error_at_the_start_ends_the_command()
    {
        using var shell = New("1, 2 | Test-Work -Do start");
        Assert.Empty(shell.Invoke());
        Assert.StartsWith("Start,", Assert.Single(shell.Streams.Error).FullyQualifiedErrorId, StringComparison.Ordinal);
    }
}

/// <summary>Does what a test asks of it.</summary>
[Cmdlet(VerbsDiagnostic.Test, "Work", SupportsShouldProcess = true)]
public sealed class TestWorkCommand : AsyncPSCmdlet
{
    internal static TaskCompletionSource<Exception?> Late { get; set; } = new();

    internal static TaskCompletionSource Ended { get; set; } = new();

    internal static bool Waiting { get; private set; }

    [Parameter(ValueFromPipeline = true)]
    public int Number { get; set; }

    [Parameter]
    public string Do { get; set; } = "";

    protected override Task BeginAsync() =>
        Do == "start"
            ? throw new LaunchException("Start", LaunchErrorCategory.InvalidOperation, "at the start", null)
            : Task.CompletedTask;

    protected override async Task ProcessAsync()
    {
        switch (Do)
        {
            case "many":
                for (var i = 0; i < 5000; i++)
                {
                    Output(Number * 10_000 + i);
                }

                break;
            case "odd":
                await Task.Yield();
                Output(
                    Number % 2 == 1
                        ? Number
                        : throw new LaunchException("Even", LaunchErrorCategory.InvalidArgument, "even", Number)
                );
                break;
            case "late":
                _ = Task.Run(async () =>
                {
                    await Task.Delay(300);
                    try
                    {
                        Output(99);
                        Error(new InvalidOperationException("late"));
                        Late.SetResult(null);
                    }
                    catch (Exception e)
                    {
                        Late.SetResult(e);
                    }
                });
                Output(Number);
                break;
            case "forever":
                try
                {
                    while (true)
                    {
                        Token.ThrowIfCancellationRequested();
                        Output(Number);
                        await Task.Yield();
                    }
                }
                finally
                {
                    Ended.SetResult();
                }

            case "wait":
                Waiting = true;
                await Task.Delay(Timeout.Infinite, Token);
                break;
            case "ask":
                if (await ShouldProcessAsync(Number.ToString(System.Globalization.CultureInfo.InvariantCulture), "ask"))
                {
                    Output(Number);
                }

                break;
        }
    }
}
