using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace WandbLaunch.Foundation;

/// <summary>
/// A logger for a person: steps with the time since the work began, requests, and warnings, each to whoever shows it. What
/// nobody asked to see costs nothing.
/// </summary>
/// <param name="debug">Takes requests and other small things; null: nobody does.</param>
/// <param name="verbose">Takes steps; null: nobody does.</param>
/// <param name="warn">Takes warnings and worse.</param>
internal sealed class CallbackLogger(Action<string>? debug, Action<string>? verbose, Action<string> warn) : ILogger
{
    private readonly long _began = Stopwatch.GetTimestamp();

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) =>
        logLevel switch
        {
            LogLevel.None => false,
            >= LogLevel.Warning => true,
            LogLevel.Information => verbose is not null,
            _ => debug is not null,
        };

    /// <inheritdoc/>
    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter
    )
    {
        if (!IsEnabled(logLevel))
        {
            return;
        }

        var text = Secrets.Mask(formatter(state, exception));
        if (logLevel >= LogLevel.Warning)
        {
            warn(text);
            return;
        }

        var seconds = Stopwatch.GetElapsedTime(_began).TotalSeconds;
        (logLevel == LogLevel.Information ? verbose : debug)!(
            string.Create(CultureInfo.InvariantCulture, $"[{seconds:0.000} s] {text}")
        );
    }
}
