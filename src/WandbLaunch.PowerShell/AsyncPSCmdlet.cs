using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>
/// A cmdlet whose work is asynchronous. The work runs on the thread pool; objects, errors, progress and questions come
/// back in order through a bounded queue, and are written on the pipeline's thread. Ctrl+C cancels <see cref="Token"/>.
/// </summary>
public abstract partial class AsyncPSCmdlet : PSCmdlet, IDisposable
{
    private const int QueueLength = 1000;

    private static readonly string[] TellingParameters = ["Verbose", "Debug"];

    private readonly CancellationTokenSource _stop = new();
    private readonly object _stopping = new();

    // One queue for the cmdlet's life: what work in the background says between two inputs waits for the next. It is
    // closed but not disposed at the end, for a late writer may be inside it then.
    private readonly BlockingCollection<Action?> _queue = new(QueueLength);

    private readonly ProgressLines _progress;
    private readonly ProgressSteps _steps = new();

    // Why the pipeline takes nothing more of us, as it was thrown by a write or a question.
    private ExceptionDispatchInfo? _ended;
    private Task? _stopped;
    private volatile int _pipelineThread;

    /// <summary>Makes the cmdlet.</summary>
    protected AsyncPSCmdlet()
    {
        // Kept, for the source gives none once it is disposed, and work in the background may still ask.
        Token = _stop.Token;
        _progress = new ProgressLines(this);
    }

    /// <summary>Cancelled when the pipeline stops. Work must heed it: a stopped pipeline waits for the work's clean-up.</summary>
    protected CancellationToken Token { get; }

    /// <summary>The job of this module that the command is run by (-AsJob); null: none.</summary>
    private protected CommandJob? InJob { get; private set; }

    /// <summary>How long one request waits for a server that fails, before the command says so as an error.</summary>
    private protected virtual TimeSpan Patience => TimeSpan.FromSeconds(40);

    private ServerPatience? _patience;
    private LaunchContext? _context;
    private bool _wantsDebug;
    private bool _wantsVerbose;

    /// <summary>Why the input at hand is none for this command; null: it is.</summary>
    private protected virtual LaunchException? Refusal() => null;

    /// <summary>Before the first input. An error here ends the command.</summary>
    protected virtual Task BeginAsync() => Task.CompletedTask;

    /// <summary>For each input. An error here is this input's alone.</summary>
    protected virtual Task ProcessAsync() => Task.CompletedTask;

    /// <summary>For each input, on the pipeline's thread: true when it needed nothing that takes time, so that <see cref="ProcessAsync"/> is left out. An error here is this input's alone.</summary>
    protected virtual bool ProcessNow() => false;

    /// <summary>After the last input.</summary>
    protected virtual Task EndAsync() => Task.CompletedTask;

    /// <inheritdoc/>
    protected sealed override void BeginProcessing()
    {
        // Asked here, for preferences are the pipeline thread's to read.
        _wantsDebug = Wants("Debug");
        _wantsVerbose = Wants("Verbose");
        InJob = CommandJob.Of(this);
        SetExitCode(0);
        Pump(BeginAsync, true);
    }

    /// <summary>True for commands that say by <c>$LASTEXITCODE</c>, as programs do, how they ended: on every way out.</summary>
    private protected virtual bool SetsExitCode => false;

    /// <summary>Sets <c>$LASTEXITCODE</c>, where this command does; on the pipeline's thread.</summary>
    private protected void SetExitCode(int code)
    {
        if (SetsExitCode)
        {
            SessionState.PSVariable.Set("global:LASTEXITCODE", code);
        }
    }

    // Set before it is written, for -ErrorAction Stop ends the command there.
    private void WriteFault(ErrorRecord record)
    {
        SetExitCode(record.TargetObject is LaunchedRun { ExitCode: { } code and not 0 } ? code : 1);
        WriteError(record);
    }

    private bool Wants(string stream) =>
        MyInvocation.BoundParameters.TryGetValue(stream, out var given)
            ? LanguagePrimitives.IsTrue(given)
            : !LanguagePrimitives.Equals(GetVariableValue(stream + "Preference"), ActionPreference.SilentlyContinue);

    /// <summary>What this command's work is given: its streams are the log.</summary>
    private protected LaunchContext Context =>
        _context ??= LaunchContext.ForPerson(
            _wantsDebug ? text => Post(() => WriteDebug(text)) : null,
            _wantsVerbose ? text => Post(() => WriteVerbose(text)) : null,
            Warn
        );

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected sealed override void ProcessRecord()
    {
        ThrowIfStopped();
        if (Refusal() is { } refusal)
        {
            WriteNow(() => WriteFault(ErrorRecords.Of(refusal, null)));
            return;
        }

        _pipelineThread = Environment.CurrentManagedThreadId;
        var outside = ServerPatience.Current;
        ServerPatience.Current = _patience ??= new ServerPatience(Patience, Context);
        try
        {
            if (ProcessNow())
            {
                return;
            }
        }
        catch (Exception e) when (_ended is null && !IsPowerShells(e))
        {
            WriteNow(() => WriteFault(ErrorRecords.Of(e, null)));
            return;
        }
        finally
        {
            _pipelineThread = 0;
            // The thread is the pipeline's, and goes on to other commands.
            ServerPatience.Current = outside;
        }

        Pump(ProcessAsync, false);
    }

    /// <inheritdoc/>
    protected sealed override void EndProcessing()
    {
        Pump(EndAsync, false);
        _progress.End();
    }

    /// <inheritdoc/>
    protected sealed override void StopProcessing() => _ = StopAsync();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the cmdlet.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            // Disposed before its callbacks have run, the source would forget them, and who waits on them would wait on.
            _ = StopAsync().ContinueWith(_ => _stop.Dispose(), TaskScheduler.Default);
            _queue.CompleteAdding();
            _progress.End();
        }
    }

    /// <summary>
    /// Ends the command with an error, behind everything that was written before. Work that runs off the pipeline's thread
    /// may call it too.
    /// </summary>
    /// <param name="errorRecord">Why.</param>
    [DoesNotReturn]
    protected new void ThrowTerminatingError(ErrorRecord errorRecord)
    {
        if (Environment.CurrentManagedThreadId == _pipelineThread)
        {
            base.ThrowTerminatingError(errorRecord);
        }

        throw new TerminatingErrorException(errorRecord);
    }

    /// <summary>Writes an object; waits only when the queue is full.</summary>
    protected void Output(object? value) =>
        Post(() =>
        {
            Views.Load();
            WriteObject(value);
        });

    /// <summary>Writes many objects at once: one place in the queue for all.</summary>
    internal void OutputAll(IReadOnlyList<object> values) =>
        Post(() =>
        {
            Views.Load();
            WriteObject(values, true);
        });

    /// <summary>Writes a verbose line.</summary>
    protected void Verbose(string text) => Post(() => WriteVerbose(Secrets.Mask(text)));

    /// <summary>Writes a warning.</summary>
    protected void Warn(string text) => Post(() => WriteWarning(Secrets.Mask(text)));

    /// <summary>Writes text for the host, as Write-Host does.</summary>
    protected void Show(string text) =>
        Post(() =>
            WriteInformation(
                new HostInformationMessage { Message = text, NoNewLine = true },
                ["PSHOST", "WandbLaunchLog"]
            )
        );

    /// <summary>Writes progress; a percentage of null is unknown, of 100 ends it.</summary>
    protected void Progress(string activity, string status, int? percent, int id = 0)
    {
        if (_wantsVerbose && _steps.IsNew(id, status))
        {
            Context.Step($"{activity}: {status}");
        }

        ShowLine(activity, status, percent, id);
    }

    /// <summary>
    /// Shows a live line that is no step of the work, such as how long something runs. Also while a stopped command cleans
    /// up: the pipeline passes nothing on then, and the host still shows it.
    /// </summary>
    private protected void ShowLine(string activity, string status, int? percent, int id = 0)
    {
        if (!ShowsLines)
        {
            return;
        }

        if (Token.IsCancellationRequested)
        {
            _progress.WriteToHost(activity, status, percent, id);
        }
        else
        {
            Post(() => _progress.Write(activity, status, percent, id));
            if (percent is not 100 && _progress.TryRemind(id))
            {
                _ = RemindAsync(id);
            }
        }
    }

    // The console takes some lines a second and forgets the others: the last of several in a row is shown once more, for
    // what it names may take minutes.
    private async Task RemindAsync(int id)
    {
        await Task.Delay(ProgressLines.Pause);
        Post(() => _progress.Again(id));
    }

    /// <summary>False where the user wants no live lines (-Quiet). Steps are told by -Verbose all the same.</summary>
    private protected virtual bool ShowsLines => true;

    /// <summary>Writes an error that does not end the command.</summary>
    protected void Error(Exception exception, object? target = null)
    {
        var record = ErrorRecords.Of(exception, target);
        Post(() => WriteFault(record));
    }

    /// <summary>The given connection, else the session's, else one from the settings.</summary>
    internal async Task<WandbConnection> GetConnectionAsync(WandbConnection? given) =>
        given
        ?? WandbSession.Current
        ?? await WandbSession.OpenAsync(() => ResolveSettings(), text => Verbose(text), Token);

    internal WandbSettings ResolveSettings(
        string? baseUrl = null,
        string? apiKey = null,
        string? entity = null,
        string? project = null
    ) => WandbSettings.Resolve(Context.Environment, WorkingFolder, baseUrl, apiKey, entity, project);

    /// <summary>The session's folder in the file system.</summary>
    internal string WorkingFolder => SessionState.Path.CurrentFileSystemLocation.ProviderPath;

    /// <summary>A path of the session as a full path of the file system.</summary>
    internal string FullPath(string path) => SessionState.Path.GetUnresolvedProviderPathFromPSPath(path);

    /// <summary>
    /// Runs an action on the pipeline's thread, in order, without waiting for it. Once the pipeline is over it is dropped
    /// without a word, so that nothing cuts the work's clean-up short.
    /// </summary>
    private protected void Post(Action action)
    {
        if (Environment.CurrentManagedThreadId == _pipelineThread)
        {
            WriteNow(action);
            return;
        }

        try
        {
            _queue.Add(action, Token);
        }
        catch (Exception e) when (e is InvalidOperationException or OperationCanceledException)
        {
            // The pipeline is over: what comes late is dropped.
        }
    }

    /// <summary>
    /// Runs a question on the pipeline's thread, in order, and gives its answer. A stop cancels it, asked or not. What it
    /// throws is thrown to who asked; unless it is a <see cref="LaunchException"/>, it also ends the command.
    /// </summary>
    private protected Task<T> AskAsync<T>(Func<T> question)
    {
        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() =>
        {
            try
            {
                answer.TrySetResult(question());
            }
            catch (LaunchException e)
            {
                answer.TrySetException(e);
            }
            catch (Exception e)
            {
                answer.TrySetException(e);
                throw;
            }
        });
        return answer.Task.WaitAsync(Token);
    }

    private static bool IsPowerShells(Exception e) => e.GetType().Assembly == typeof(PSCmdlet).Assembly;

    // Callbacks and continuations of the work run on the thread pool: on this thread, which may be the pipeline's, they
    // could wait for it, or be taken for it. One of them that throws is no reason not to stop.
    private protected Task StopAsync()
    {
        lock (_stopping)
        {
            return _stopped ??= _stop.CancelAsync();
        }
    }

    private void ThrowIfStopped()
    {
        _ended?.Throw();
        if (Token.IsCancellationRequested)
        {
            throw new PipelineStoppedException();
        }
    }

    // What a write throws is the pipeline's word that it takes no more: Ctrl+C, Select-Object -First, -ErrorAction Stop,
    // a later command that failed, break in a loop.
    private void WriteNow(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            _ended ??= ExceptionDispatchInfo.Capture(e);
            _ = StopAsync();
            throw;
        }
    }

    private void Pump(Func<Task> work, bool beginning)
    {
        ThrowIfStopped();
        _pipelineThread = Environment.CurrentManagedThreadId;
        try
        {
            var patience = _patience ??= new ServerPatience(Patience, Context);
            var round = Task.Run(() =>
            {
                ServerPatience.Current = patience;
                return RoundAsync(work);
            });
            if (!beginning)
            {
                // Beside the work, which is what is waited for.
                Views.Load();
            }

            Drain();
            if (Token.IsCancellationRequested)
            {
                _progress.End();
            }

            // Over, or cancelled and cleaning up; writers and questions are let go by the token.
#pragma warning disable VSTHRD002 // The pipeline's thread has nothing else to do, and the work never asks for it but through the queue.
            var fault = round.GetAwaiter().GetResult();
#pragma warning restore VSTHRD002
            if (Token.IsCancellationRequested)
            {
                // What the clean-up showed.
                _progress.End();
            }

            ThrowIfStopped();
            switch (fault)
            {
                case null:
                    break;
                case TerminatingErrorException terminator:
                    WriteNow(() => base.ThrowTerminatingError(terminator.Record));
                    break;
                case PipelineStoppedException:
                    ExceptionDispatchInfo.Throw(fault);
                    break;
                case not null when beginning:
                    SetExitCode(1);
                    WriteNow(() => base.ThrowTerminatingError(ErrorRecords.Of(fault, null)));
                    break;
                default:
                    WriteNow(() => WriteFault(ErrorRecords.Of(fault, null)));
                    break;
            }
        }
        finally
        {
            // Threads are used again: a late writer on this one must not be taken for the pipeline.
            _pipelineThread = 0;
        }
    }

    private async Task<Exception?> RoundAsync(Func<Task> work)
    {
        try
        {
            await work();
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
        finally
        {
            try
            {
                // Null ends the round, behind everything that the work has said.
                _queue.Add(null, Token);
            }
            catch (OperationCanceledException)
            {
                // Nobody reads any more.
            }
        }
    }

    private void Drain()
    {
        while (!Token.IsCancellationRequested)
        {
            try
            {
                if (_queue.Take(Token) is not { } action)
                {
                    return;
                }

                WriteNow(action);
            }
            catch (Exception e) when (_ended is not null || e is OperationCanceledException)
            {
                // Said when the work has cleaned up.
                return;
            }
        }
    }

    private sealed class TerminatingErrorException(ErrorRecord record)
        : Exception(record.Exception.Message, record.Exception)
    {
        internal ErrorRecord Record => record;
    }
}
