namespace WandbLaunch.Foundation;

/// <summary>How far a piece of work is, for whoever shows it.</summary>
/// <param name="Text">What is being done, such as "resolving packages".</param>
/// <param name="Percent">How much of it is done; null: not known.</param>
internal readonly record struct LaunchProgress(string Text, int? Percent = null);

/// <summary>Tells at once, on the thread of the work and in its order.</summary>
internal sealed class CallbackProgress(Action<LaunchProgress> report) : IProgress<LaunchProgress>
{
    /// <summary>Nobody looks.</summary>
    internal static IProgress<LaunchProgress> None { get; } = new CallbackProgress(static _ => { });

    /// <inheritdoc/>
    public void Report(LaunchProgress value) => report(value);
}

/// <summary>Short words for it.</summary>
internal static class ProgressExtensions
{
    /// <summary>Tells what is being done, and how much of it, where that is known.</summary>
    internal static void Report(this IProgress<LaunchProgress> progress, string text, int? percent = null) =>
        progress.Report(new LaunchProgress(text, percent));
}
