using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Runspaces;

namespace WandbLaunch.PowerShell;

/// <summary>
/// A command of this module in the background (-AsJob): in a runspace of its own, with the parameters and the input that
/// it was given. Receive-Job, Wait-Job, Stop-Job and Remove-Job work on it as on any job.
/// </summary>
internal sealed class CommandJob : Job
{
    private const string Variable = "__WandbLaunchJob";

    private static readonly TimeSpan ExitLimit = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan LeaveLimit = TimeSpan.FromSeconds(3);

    private readonly System.Management.Automation.PowerShell _shell = System.Management.Automation.PowerShell.Create();
    private readonly object _lock = new();
    private readonly TimeSpan _patience;
    private bool _disposed;
    private Task? _stopping;

    private CommandJob(string command, string? name, TimeSpan patience)
        : base(command, name)
    {
        PSJobTypeName = "WandbLaunch";
        _patience = patience;
    }

    /// <summary>Called when the job is asked a second time to stop.</summary>
    internal Action? Insisted { get; set; }

    /// <summary>Called when the process ends before the job does; null: the command is stopped then.</summary>
    internal Action? Left { get; set; }

    /// <inheritdoc/>
    public override bool HasMoreData =>
        Output.Count + Error.Count + Warning.Count + Verbose.Count + Debug.Count + Information.Count + Progress.Count
        > 0;

    /// <inheritdoc/>
    public override string Location => "localhost";

    /// <inheritdoc/>
    public override string StatusMessage => "";

    private bool IsOver => JobStateInfo.State is JobState.Completed or JobState.Failed or JobState.Stopped;

    /// <summary>The job that a command runs in; null: it runs in front of a person, or of a script.</summary>
    internal static CommandJob? Of(PSCmdlet cmdlet) => cmdlet.SessionState.PSVariable.GetValue(Variable) as CommandJob;

    /// <summary>Starts the same command as a job of the session. To be called on the pipeline's thread.</summary>
    /// <param name="cmdlet">The command in front.</param>
    /// <param name="shown">What it works on, for Get-Job: never more of what was typed, which may hold secrets.</param>
    /// <param name="name">Name of the job; null: PowerShell's own kind of name.</param>
    /// <param name="parameters">What it is given in the background.</param>
    /// <param name="input">What is piped into it; null: nothing.</param>
    /// <param name="patience">How long Stop-Job waits for the end; the job goes on ending after it.</param>
    internal static CommandJob Start(
        PSCmdlet cmdlet,
        string shown,
        string? name,
        IDictionary parameters,
        IReadOnlyList<object>? input,
        TimeSpan patience
    )
    {
        var job = new CommandJob($"{cmdlet.MyInvocation.MyCommand.Name} {shown}", name, patience);
        cmdlet.JobRepository.Add(job);
        job.Begin(cmdlet, parameters, input);
        return job;
    }

    /// <summary>The common parameters that were typed and that mean the same in the background.</summary>
    internal static IEnumerable<KeyValuePair<string, object?>> Common(PSCmdlet cmdlet) =>
        cmdlet
            .MyInvocation.BoundParameters.Where(p =>
                p.Key
                    is "Verbose"
                        or "Debug"
                        or "ErrorAction"
                        or "WarningAction"
                        or "InformationAction"
                        or "ProgressAction"
            )
            .Select(p => KeyValuePair.Create(p.Key, (object?)p.Value));

    /// <summary>Writes an object that the pipeline takes no more, for it was stopped: Receive-Job gives it all the same.</summary>
    internal void Late(object value)
    {
        if (Output.IsOpen)
        {
            Output.Add(PSObject.AsPSObject(value));
        }
    }

    /// <summary>Stops the command as Ctrl+C does, and waits for its end; asked again, whatever it still waits for is told so.</summary>
    public override void StopJob()
    {
        if (IsOver)
        {
            return;
        }

        lock (_lock)
        {
            if (_stopping is null)
            {
                SetJobState(JobState.Stopping);
                _stopping = Task.Run(_shell.Stop);
            }
            else
            {
                Insisted?.Invoke();
            }
        }

        Finished.WaitOne(_patience);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        lock (_lock)
        {
            if (!disposing || _disposed)
            {
                return;
            }

            _disposed = true;
        }

        if (!IsOver)
        {
            StopJob();
            Insisted?.Invoke();
        }

        AppDomain.CurrentDomain.ProcessExit -= OnProcessExit;
        base.Dispose(disposing);
    }

    private void Begin(PSCmdlet cmdlet, IDictionary parameters, IReadOnlyList<object>? input)
    {
        var state = InitialSessionState.CreateDefault2();
        state.LanguageMode = cmdlet.SessionState.LanguageMode;
        state.Variables.Add(
            new SessionStateVariableEntry(Variable, this, "", ScopedItemOptions.Constant | ScopedItemOptions.Private)
        );
        var me = cmdlet.GetType();
        state.Commands.Add(new SessionStateCmdletEntry(cmdlet.MyInvocation.MyCommand.Name, me, null));

        // For the script blocks of an agent, which use the other commands.
        state.ImportPSModule([Path.Combine(Path.GetDirectoryName(me.Assembly.Location)!, "WandbLaunch.psd1")]);
        var runspace = RunspaceFactory.CreateRunspace(state);
        runspace.Name = Name;
        var folder = cmdlet.SessionState.Path.CurrentFileSystemLocation.ProviderPath;
        _shell.AddCommand(cmdlet.MyInvocation.MyCommand.Name).AddParameters(parameters);
        var streams = _shell.Streams;
        (streams.Error, streams.Warning, streams.Verbose) = (Error, Warning, Verbose);
        (streams.Debug, streams.Information, streams.Progress) = (Debug, Information, Progress);
        AppDomain.CurrentDomain.ProcessExit += OnProcessExit;
        SetJobState(JobState.Running);

        // Opening takes a moment, and nobody needs to wait for it.
        _ = Task.Run(async () =>
        {
            try
            {
                runspace.Open();
                runspace.SessionStateProxy.Path.SetLocation(WildcardPattern.Escape(folder));
                _shell.Runspace = runspace;
                using var given = new PSDataCollection<object>(input ?? []);
                given.Complete();
                var running = _shell.BeginInvoke(input is null ? null : given, Output);
                await Task.Factory.FromAsync(running, _shell.EndInvoke);
                End(JobState.Completed);
            }
            catch (PipelineStoppedException)
            {
                End(JobState.Stopped);
            }
            catch (Exception e)
            {
                Error.Add(
                    (e as RuntimeException)?.ErrorRecord is { } record
                        ? new ErrorRecord(record, record.Exception)
                        : ErrorRecords.Of(e, null)
                );
                End(JobState.Failed);
            }
            finally
            {
                runspace.Dispose();
            }
        });
    }

    private void End(JobState state)
    {
        AppDomain.CurrentDomain.ProcessExit -= OnProcessExit;
        Output.Complete();
        SetJobState(_stopping is null ? state : JobState.Stopped);
        _shell.Dispose();
    }

    // A person who leaves the shell leaves its jobs: what they run is ended as it would be in front, not torn.
    private void OnProcessExit(object? sender, EventArgs e)
    {
        if (Left is { } left)
        {
            left();
            Finished.WaitOne(LeaveLimit);
        }
        else if (!IsOver)
        {
            _ = Task.Run(_shell.Stop);
            Finished.WaitOne(ExitLimit);
        }
    }
}
