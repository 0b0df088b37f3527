using System.Collections.Concurrent;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>
/// A cmdlet whose work is asynchronous. The work runs on the thread pool; objects, errors, progress and questions come
/// back in order through a bounded queue, and are written on the pipeline's thread. Ctrl+C cancels <see cref="Token"/>.
/// </summary>
public abstract class AsyncPSCmdlet : PSCmdlet, IDisposable
{
    private const int QueueLength = 1000;

    private static readonly string[] AskingParameters = ["WhatIf", "Confirm", "Verbose", "Debug"];

    private readonly CancellationTokenSource _stop = new();

    // One queue for the cmdlet's life: what work in the background says between two inputs waits for the next.
    private readonly BlockingCollection<Action?> _queue = new(QueueLength);
    private int _pipelineThread;
    private bool _disposed;

    /// <summary>Cancelled when the pipeline stops.</summary>
    protected CancellationToken Token => _stop.Token;

    /// <summary>How long one request waits for a server that fails, before the command says so as an error.</summary>
    private protected virtual TimeSpan Patience => TimeSpan.FromSeconds(40);

    private ServerPatience? _patience;

    /// <summary>Before the first input. An error here ends the command.</summary>
    protected virtual Task BeginAsync() => Task.CompletedTask;

    /// <summary>For each input. An error here is this input's alone.</summary>
    protected virtual Task ProcessAsync() => Task.CompletedTask;

    /// <summary>For each input, on the pipeline's thread: true when it needed nothing that takes time, so that <see cref="ProcessAsync"/> is left out. An error here is this input's alone.</summary>
    protected virtual bool ProcessNow() => false;

    /// <summary>After the last input.</summary>
    protected virtual Task EndAsync() => Task.CompletedTask;

    /// <inheritdoc/>
    protected sealed override void BeginProcessing() => Pump(BeginAsync, true);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected sealed override void ProcessRecord()
    {
        _pipelineThread = Environment.CurrentManagedThreadId;
        var outside = ServerPatience.Current;
        ServerPatience.Current = _patience ??= new ServerPatience(Patience, Warn);
        try
        {
            if (ProcessNow())
            {
                return;
            }
        }
        catch (LaunchException e)
        {
            WriteError(ToRecord(e, null));
            return;
        }
        finally
        {
            // The thread is the pipeline's, and goes on to other commands.
            ServerPatience.Current = outside;
        }

        Pump(ProcessAsync, false);
    }

    /// <inheritdoc/>
    protected sealed override void EndProcessing() => Pump(EndAsync, false);

    /// <inheritdoc/>
    protected sealed override void StopProcessing()
    {
        try
        {
            _stop.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // Stopped just as it ended.
        }
    }

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
        if (disposing && !_disposed)
        {
            _disposed = true;
            _stop.Cancel();
            _queue.CompleteAdding();
            _stop.Dispose();
            _queue.Dispose();
        }
    }

    /// <summary>Writes an object; waits only when the queue is full.</summary>
    protected void Output(object? value) => Post(() => WriteObject(value));

    /// <summary>Writes many objects at once: one place in the queue for all.</summary>
    internal void OutputAll(IReadOnlyList<object> values) => Post(() => WriteObject(values, true));

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
    protected void Progress(string activity, string status, int? percent, int id = 0) =>
        Post(() =>
            WriteProgress(
                new ProgressRecord(
                    id,
                    activity,
                    status.Length == 0 ? " " : Secrets.Mask(status.Length > 200 ? status[..200] : status)
                )
                {
                    PercentComplete = percent is { } p ? Math.Clamp(p, 0, 100) : -1,
                    RecordType = percent >= 100 ? ProgressRecordType.Completed : ProgressRecordType.Processing,
                }
            )
        );

    /// <summary>Writes an error that does not end the command.</summary>
    protected void Error(Exception exception, object? target = null)
    {
        var record = ToRecord(exception, target);
        Post(() => WriteError(record));
    }

    /// <summary>
    /// False when ShouldProcess would say yes without a word: nothing of -WhatIf, -Confirm, -Verbose and their preferences is
    /// set. For commands that take thousands of inputs, where the question costs more than the work.
    /// </summary>
    private protected bool MayAsk() =>
        AskingParameters.Any(MyInvocation.BoundParameters.ContainsKey)
        || LanguagePrimitives.IsTrue(GetVariableValue("WhatIfPreference"))
        || !LanguagePrimitives.Equals(GetVariableValue("VerbosePreference"), ActionPreference.SilentlyContinue)
        || !(
            LanguagePrimitives.TryConvertTo<ConfirmImpact>(GetVariableValue("ConfirmPreference"), out var impact)
            && impact is ConfirmImpact.None or ConfirmImpact.High
        );

    /// <summary>Asks ShouldProcess on the pipeline's thread.</summary>
    protected Task<bool> ShouldProcessAsync(string target, string action) =>
        Ask(() => ShouldProcess(Secrets.Mask(target), action));

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
    ) => WandbSettings.Resolve(LaunchEnvironment.Current, WorkingFolder, baseUrl, apiKey, entity, project);

    /// <summary>The session's folder in the file system.</summary>
    internal string WorkingFolder => SessionState.Path.CurrentFileSystemLocation.ProviderPath;

    /// <summary>A path of the session as a full path of the file system.</summary>
    internal string FullPath(string path) => SessionState.Path.GetUnresolvedProviderPathFromPSPath(path);

    internal static ErrorRecord ToRecord(Exception exception, object? target)
    {
        if (exception is LaunchException launch)
        {
            return new ErrorRecord(
                launch,
                launch.ErrorId,
                Enum.TryParse<ErrorCategory>(launch.Category.ToString(), out var category)
                    ? category
                    : ErrorCategory.NotSpecified,
                launch.Target ?? target
            );
        }

        var (id, kind) = exception switch
        {
            UnauthorizedAccessException => ("AccessDenied", ErrorCategory.PermissionDenied),
            IOException => ("FileFailed", ErrorCategory.WriteError),
            HttpRequestException => ("ConnectionFailed", ErrorCategory.ConnectionError),
            TimeoutException => ("Timeout", ErrorCategory.OperationTimeout),
            _ => ("Unexpected", ErrorCategory.NotSpecified),
        };
        return new ErrorRecord(
            new LaunchException(id, LaunchErrorCategory.InvalidOperation, exception.Message, target, exception),
            id,
            kind,
            target
        );
    }

    /// <summary>Runs an action on the pipeline's thread, in order, without waiting for it.</summary>
    private protected void Post(Action action)
    {
        if (Environment.CurrentManagedThreadId == _pipelineThread)
        {
            action();
            return;
        }

        try
        {
            _queue.Add(action, Token);
        }
        catch (Exception e)
            when (e is InvalidOperationException or OperationCanceledException or ObjectDisposedException)
        {
            // The pipeline is over: what comes late is dropped.
        }
    }

    private Task<T> Ask<T>(Func<T> question)
    {
        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = Token.Register(() => answer.TrySetCanceled(Token));
        Post(() =>
        {
            try
            {
                answer.TrySetResult(question());
            }
            catch (Exception e)
            {
                answer.TrySetException(e);
                throw;
            }
        });
        return answer.Task;
    }

    private void Pump(Func<Task> work, bool terminating)
    {
        _pipelineThread = Environment.CurrentManagedThreadId;
        var patience = _patience ??= new ServerPatience(Patience, Warn);
        var task = Task.Run(async () =>
        {
            ServerPatience.Current = patience;
            try
            {
                await work();
            }
            finally
            {
                // Null ends this round, behind everything that the work has said.
                while (!_queue.TryAdd(null, 10) && !_stop.IsCancellationRequested) { }
            }
        });
        ExceptionDispatchInfo? stopped = null;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                if (_queue.Take(_stop.Token) is not { } action)
                {
                    break;
                }

                action();
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                break;
            }
            catch (Exception e)
            {
                // The pipeline stopped (Ctrl+C, Select-Object -First): let the work clean up, then say so.
                stopped = ExceptionDispatchInfo.Capture(e);
                _stop.Cancel();
            }
        }

        // Whoever waits for room in the queue must be let go.
        while (_stop.IsCancellationRequested && !task.IsCompleted)
        {
            _queue.TryTake(out _, 10);
        }

        try
        {
            task.GetAwaiter().GetResult();
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            stopped ??= ExceptionDispatchInfo.Capture(new PipelineStoppedException());
        }
        catch (PipelineStoppedException) when (stopped is not null)
        {
            // Said below.
        }
        catch (Exception e) when (e is not PipelineStoppedException && stopped is null)
        {
            var record = ToRecord(e, null);
            if (terminating)
            {
                ThrowTerminatingError(record);
            }

            WriteError(record);
        }

        stopped?.Throw();
    }
}
