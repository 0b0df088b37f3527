using System.Diagnostics;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Management.Automation.Runspaces;
using WandbLaunch.Foundation;
using WandbLaunch.PowerShell;

namespace WandbLaunch.Tests;

/// <summary>What every cmdlet has from its base class, seen from a real pipeline.</summary>
[Collection(ProcessCollection.Name)]
public sealed class AsyncCmdletTests
{
    private static System.Management.Automation.PowerShell New(
        string script,
        PSThreadOptions thread = PSThreadOptions.Default
    )
    {
        var state = InitialSessionState.CreateDefault2();
        state.Commands.Add(new SessionStateCmdletEntry("Test-Work", typeof(TestWorkCommand), null));
        state.Commands.Add(new SessionStateCmdletEntry("Get-FirstObject", typeof(GetFirstObjectCommand), null));
        var runspace = RunspaceFactory.CreateRunspace(state);
        runspace.ThreadOptions = thread;
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
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60));
    }

    [Fact]
    public void Stop_ends_it_at_once()
    {
        using var shell = New("1 | Test-Work -Do wait");
        var running = shell.BeginInvoke();
        while (!TestWorkCommand.Waiting)
        {
            Thread.Sleep(10);
        }

        var clock = Stopwatch.StartNew();
        shell.Stop();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20));
        Assert.True(running.IsCompleted);
        Assert.Equal(PSInvocationState.Stopped, shell.InvocationStateInfo.State);
    }

    [Fact]
    public void Questions_are_asked_on_the_pipelines_thread_and_answered()
    {
        using var shell = New("1, 2 | Test-Work -Do ask,output -WhatIf; 3 | Test-Work -Do ask,output -Confirm:$false");
        Assert.Equal([3], shell.Invoke<int>());
    }

    [Fact]
    public void An_error_at_the_start_ends_the_command()
    {
        using var shell = New("1, 2 | Test-Work -Do start");
        Assert.Empty(shell.Invoke());
        Assert.StartsWith("Start,", Assert.Single(shell.Streams.Error).FullyQualifiedErrorId, StringComparison.Ordinal);
    }

    // A pipeline that hangs must fail the test, not the whole run.
    private static async Task<PSDataCollection<PSObject>> RunAsync(System.Management.Automation.PowerShell shell) =>
        await shell.InvokeAsync().WaitAsync(TimeSpan.FromSeconds(20));

    [Theory]
    [InlineData("output", "")]
    [InlineData("error", "2>&1")]
    [InlineData("warning", "3>&1")]
    [InlineData("verbose", "-Verbose 4>&1")]
    [InlineData("show", "6>&1")]
    public async Task A_question_that_waits_when_a_later_command_has_enough_is_given_up(string kind, string redirected)
    {
        // The later command takes its time over the first object, and so the question stands in the queue by then.
        TestWorkCommand.Ended = new TaskCompletionSource();
        var shell = New(
            $"1 | Test-Work -Do write,ask -Kind {kind} -WhatIf {redirected} | ForEach-Object {{ [Threading.Thread]::Sleep(300); $_ }} | Get-FirstObject; 'after'"
        );
        var seen = await RunAsync(shell);
        Assert.Equal(2, seen.Count);
        Assert.Equal("after", seen[1].BaseObject);
        Assert.Empty(shell.Streams.Error);
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60));
        shell.Dispose();
    }

    [Fact]
    public async Task The_first_of_many_questions_may_be_the_last()
    {
        var shell = New(
            "1..50 | Test-Work -Do ask,output -Confirm:$false | Get-FirstObject; Test-Work -Do asks -Number 7 -Confirm:$false | Get-FirstObject"
        );
        Assert.Equal([1, 7], (await RunAsync(shell)).Select(o => (int)o.BaseObject));
        shell.Dispose();
    }

    [Fact]
    public async Task Stop_gives_up_a_question_that_was_never_asked()
    {
        // The pipeline's thread is in the later command; Ctrl+C finds the question behind it.
        TestWorkCommand.Ended = new TaskCompletionSource();
        TestWorkCommand.Waiting = false;
        var shell = New("1 | Test-Work -Do write,ask -WhatIf | ForEach-Object { Test-Work -Do wait }");
        var running = shell.BeginInvoke();
        while (!TestWorkCommand.Waiting)
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }

        await Task.Delay(100, TestContext.Current.CancellationToken);
        await Task.Run(shell.Stop, TestContext.Current.CancellationToken)
            .WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        Assert.True(running.IsCompleted);
        shell.Dispose();
    }

    [Fact]
    public async Task A_question_that_cannot_be_asked_is_an_error_of_its_input()
    {
        // This host cannot prompt.
        TestWorkCommand.Ended = new TaskCompletionSource();
        var shell = New("1, 2 | Test-Work -Do ask -Confirm");
        Assert.Empty(await RunAsync(shell));
        Assert.Equal(PSInvocationState.Completed, shell.InvocationStateInfo.State);
        Assert.Equal(
            ["ConfirmationMissing", "ConfirmationMissing"],
            shell.Streams.Error.Select(e => e.FullyQualifiedErrorId.Split(',')[0])
        );
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60));
        shell.Dispose();
    }

    [Fact]
    public async Task ErrorAction_Stop_ends_the_work_in_the_middle_and_takes_its_progress_away()
    {
        TestWorkCommand.Ended = new TaskCompletionSource();
        var shell = New(
            "try { 1 | Test-Work -Do progress,error,forever -ErrorAction Stop } catch { $_.FullyQualifiedErrorId }"
        );
        var seen = await RunAsync(shell);
        Assert.StartsWith("Said,", Assert.Single(seen).ToString(), StringComparison.Ordinal);
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(
            [(3, ProgressRecordType.Processing), (3, ProgressRecordType.Completed)],
            shell.Streams.Progress.Where(p => p.Activity == "work").Select(p => (p.ActivityId, p.RecordType))
        );
        shell.Dispose();
    }

    [Theory]
    [InlineData("untidy")]
    [InlineData("callback")]
    public async Task What_goes_wrong_in_cleaning_up_does_not_hide_why_it_ended(string how)
    {
        var shell = New($"1 | Test-Work -Do {how} | Get-FirstObject; 'after'");
        Assert.Equal([1, "after"], (await RunAsync(shell)).Select(o => o.BaseObject));
        Assert.Empty(shell.Streams.Error);
        shell.Dispose();
    }

    [Fact]
    public async Task A_stopped_command_does_no_more_work()
    {
        TestWorkCommand.Ended = new TaskCompletionSource();
        TestWorkCommand.AtEnd = 0;
        var shell = New(
            """
            $pipeline = { Test-Work -Do forever | ForEach-Object { throw 'enough' } }.GetSteppablePipeline()
            $pipeline.Begin($true)
            try { $pipeline.Process(1) } catch { "$_" }
            try { $pipeline.Process(2) } catch { }
            try { $pipeline.End() } catch { }
            """
        );
        Assert.Equal(["enough"], (await RunAsync(shell)).Select(o => o.BaseObject));
        await TestWorkCommand.Ended.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(0, TestWorkCommand.AtEnd);
        shell.Dispose();
    }

    [Fact]
    public async Task A_terminating_error_of_the_work_comes_behind_what_it_wrote()
    {
        var shell = New("try { 1, 2 | Test-Work -Do output,terminate } catch { $_.FullyQualifiedErrorId }");
        var seen = await RunAsync(shell);
        Assert.Equal([1, "Enough,WandbLaunch.Tests.TestWorkCommand"], seen.Select(o => o.BaseObject));
        shell.Dispose();
    }

    [Fact]
    public async Task What_comes_late_on_the_pipelines_own_thread_is_dropped_too()
    {
        // Threads are used again: the one that ran the pipeline may be the one of the work that was left in the background.
        using var shell = New("1 | Test-Work -Do output", PSThreadOptions.UseCurrentThread);
        await Task.Factory.StartNew(
            () =>
            {
                Assert.Equal(1, Assert.Single(shell.Invoke<int>()));
                TestWorkCommand.Last!.SayLate();
                Assert.True(TestWorkCommand.Last.IsStopped);
            },
            TestContext.Current.CancellationToken,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default
        );
    }

    [Fact]
    public async Task A_pipeline_inside_a_question_is_one_of_its_own()
    {
        var shell = New("1, 2 | Test-Work -Do nested,output");
        Assert.Equal([10, 30, 1, 10, 30, 2], (await RunAsync(shell)).Select(o => (int)o.BaseObject));
        Assert.Equal(2, shell.Streams.Error.Count);
        shell.Dispose();
    }

    [Theory]
    [InlineData("Yes to &All", new[] { 1, 2, 3 })]
    [InlineData("No to A&ll", new int[0])]
    public async Task An_answer_for_all_holds_for_every_input(string answer, int[] expected)
    {
        var host = new AnsweringHost(answer);
        var state = InitialSessionState.CreateDefault2();
        state.Commands.Add(new SessionStateCmdletEntry("Test-Work", typeof(TestWorkCommand), null));
        using var runspace = RunspaceFactory.CreateRunspace(host, state);
        runspace.Open();
        var shell = System.Management.Automation.PowerShell.Create(runspace);
        shell.AddScript("1..3 | Test-Work -Do ask,output -Confirm");
        Assert.Equal(expected, (await RunAsync(shell)).Select(o => (int)o.BaseObject));
        Assert.Equal(1, host.Asked);
        shell.Dispose();
    }
}

/// <summary>A host whose person always gives the same answer.</summary>
internal sealed class AnsweringHost(string answer) : PSHost
{
    internal int Asked { get; private set; }

    public override System.Globalization.CultureInfo CurrentCulture =>
        System.Globalization.CultureInfo.InvariantCulture;

    public override System.Globalization.CultureInfo CurrentUICulture =>
        System.Globalization.CultureInfo.InvariantCulture;

    public override Guid InstanceId { get; } = Guid.NewGuid();

    public override string Name => "test";

    public override PSHostUserInterface UI => field ??= new Person(this, answer);

    public override Version Version { get; } = new(1, 0);

    public override void EnterNestedPrompt() => throw new NotSupportedException();

    public override void ExitNestedPrompt() => throw new NotSupportedException();

    public override void NotifyBeginApplication() { }

    public override void NotifyEndApplication() { }

    public override void SetShouldExit(int exitCode) { }

    private sealed class Person(AnsweringHost host, string answer) : PSHostUserInterface
    {
        public override PSHostRawUserInterface RawUI => null!;

        public override int PromptForChoice(
            string caption,
            string message,
            System.Collections.ObjectModel.Collection<ChoiceDescription> choices,
            int defaultChoice
        )
        {
            host.Asked++;
            return choices.Select(c => c.Label).ToList().IndexOf(answer);
        }

        public override Dictionary<string, PSObject> Prompt(
            string caption,
            string message,
            System.Collections.ObjectModel.Collection<FieldDescription> descriptions
        ) => throw new NotSupportedException();

        public override PSCredential PromptForCredential(
            string caption,
            string message,
            string userName,
            string targetName
        ) => throw new NotSupportedException();

        public override PSCredential PromptForCredential(
            string caption,
            string message,
            string userName,
            string targetName,
            PSCredentialTypes allowedCredentialTypes,
            PSCredentialUIOptions options
        ) => throw new NotSupportedException();

        public override string ReadLine() => throw new NotSupportedException();

        public override System.Security.SecureString ReadLineAsSecureString() => throw new NotSupportedException();

        public override void Write(ConsoleColor foregroundColor, ConsoleColor backgroundColor, string value) { }

        public override void Write(string value) { }

        public override void WriteDebugLine(string message) { }

        public override void WriteErrorLine(string value) { }

        public override void WriteLine(string value) { }

        public override void WriteProgress(long sourceId, ProgressRecord record) { }

        public override void WriteVerboseLine(string message) { }

        public override void WriteWarningLine(string message) { }
    }
}

/// <summary>Select-Object -First 1, which is in a module that a bare host has not: it ends the commands before it the same way.</summary>
[Cmdlet(VerbsCommon.Get, "FirstObject")]
public sealed class GetFirstObjectCommand : PSCmdlet
{
    [Parameter(ValueFromPipeline = true)]
    public PSObject? InputObject { get; set; }

    protected override void ProcessRecord()
    {
        WriteObject(InputObject);
        throw (Exception)
            Activator.CreateInstance(
                typeof(PSObject).Assembly.GetType("System.Management.Automation.StopUpstreamCommandsException", true)!,
                this
            )!;
    }
}

/// <summary>Does what a test asks of it.</summary>
[Cmdlet(VerbsDiagnostic.Test, "Work", SupportsShouldProcess = true)]
public sealed class TestWorkCommand : AsyncPSCmdlet
{
    internal static TaskCompletionSource<Exception?> Late { get; set; } = new();

    internal static TaskCompletionSource Ended { get; set; } = new();

    internal static bool Waiting { get; set; }

    internal static int AtEnd { get; set; }

    internal static TestWorkCommand? Last { get; private set; }

    [Parameter(ValueFromPipeline = true)]
    public int Number { get; set; }

    [Parameter]
    public string[] Do { get; set; } = [];

    [Parameter]
    public string Kind { get; set; } = "output";

    internal bool IsStopped => Token.IsCancellationRequested;

    internal void SayLate()
    {
        Output(99);
        Warn("late");
        Progress("late", "late", 1);
        Error(new InvalidOperationException("late"));
    }

    protected override Task BeginAsync() =>
        Do is ["start"]
            ? throw new LaunchException("Start", LaunchErrorCategory.InvalidOperation, "at the start", null)
            : Task.CompletedTask;

    protected override Task EndAsync()
    {
        AtEnd++;
        return Task.CompletedTask;
    }

    protected override async Task ProcessAsync()
    {
        Last = this;
        var go = true;
        foreach (var step in Do)
        {
            go = go && await StepAsync(step);
        }
    }

    private async Task<bool> StepAsync(string step)
    {
        switch (step)
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
                    Ended.TrySetResult();
                }

            case "wait":
                Waiting = true;
                await Task.Delay(Timeout.Infinite, Token);
                break;
            case "ask":
                Waiting = true;
                try
                {
                    return await ShouldProcessAsync($"{Number}", "ask");
                }
                finally
                {
                    Ended.TrySetResult();
                }

            case "asks":
                for (var i = 0; i < 100_000; i++)
                {
                    if (await ShouldProcessAsync($"{i}", "ask"))
                    {
                        Output(Number);
                    }
                }

                break;
            case "output":
                Output(Number);
                break;
            case "write":
                Write(Kind);
                break;
            case "progress":
                Progress("work", "half", 50, 3);
                break;
            case "error":
                Error(new LaunchException("Said", LaunchErrorCategory.InvalidData, "said", Number));
                break;
            case "terminate":
                ThrowTerminatingError(
                    new ErrorRecord(
                        new InvalidOperationException("enough"),
                        "Enough",
                        ErrorCategory.LimitsExceeded,
                        Number
                    )
                );
                break;
            case "untidy":
                try
                {
                    Output(Number);
                    await Task.Delay(Timeout.Infinite, Token);
                }
                catch (OperationCanceledException)
                {
                    throw new IOException("the clean-up failed");
                }

                break;

            case "callback":
                using (Token.Register(() => throw new InvalidOperationException("a callback failed")))
                {
                    Output(Number);
                    await Task.Delay(Timeout.Infinite, Token);
                }

                break;
            case "nested":
                await AskAsync(() =>
                {
                    foreach (var value in InvokeCommand.InvokeScript("1..3 | Test-Work -Do odd"))
                    {
                        WriteObject((int)value.BaseObject * 10);
                    }

                    return true;
                });
                break;
        }

        return true;
    }

    private void Write(string kind)
    {
        switch (kind)
        {
            case "error":
                Error(new InvalidOperationException("said"));
                break;
            case "warning":
                Warn("said");
                break;
            case "verbose":
                Verbose("said");
                break;
            case "show":
                Show("said");
                break;
            default:
                Output(Number);
                break;
        }
    }
}
