namespace WandbLaunch.Foundation;

/// <summary>
/// What documents from outside may be, in one place, since each limit leaves room for the next: an item that the server
/// queues must be readable for every agent with what answers and journals put around it, whatever an agent reads must fit
/// into what a client reads, and all of them below the 64 levels at which readers of JSON stop. The server compiles this
/// file too.
/// </summary>
internal static class DocumentLimits
{
    /// <summary>Levels that readers of JSON take as a rule, .NET's among them.</summary>
    internal const int ReaderLevels = 64;

    /// <summary>Where a reader is told to go deeper, so that what is too deep is said by the limits here and not by an exception.</summary>
    internal const int AnyLevels = 100_000;

    /// <summary>A document that is handed in or answered: a launch config, a file, a template.</summary>
    internal static class Document
    {
        /// <summary>Levels of maps and lists: specs travel inside answers.</summary>
        internal const int Levels = 48;

        /// <summary>Values and keys.</summary>
        internal const int Values = 1_000_000;

        /// <summary>Characters of it, and of its texts once every alias is written out.</summary>
        internal const int Characters = 16 << 20;
    }

    /// <summary>An item as an agent reads it: also of servers with other limits than ours.</summary>
    internal static class TakenItem
    {
        /// <summary>Levels that every answer, journal and report can carry around it.</summary>
        internal const int Levels = 40;

        /// <summary>Values.</summary>
        internal const int Values = 200_000;

        /// <summary>Characters.</summary>
        internal const int Characters = 4 << 20;
    }

    /// <summary>An item as our server queues it.</summary>
    internal static class QueuedItem
    {
        /// <summary>Levels: answers add up to nine.</summary>
        internal const int Levels = 32;

        /// <summary>Keys in all its objects together.</summary>
        internal const int Keys = 10_000;

        /// <summary>Bytes.</summary>
        internal const int Bytes = 1 << 20;
    }
}
